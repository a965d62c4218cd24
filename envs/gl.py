"""Choice of the OpenGL back-end, before mujoco is imported, and the guard against forks.

MuJoCo reads ``MUJOCO_GL`` once, when it is imported. Unset on a machine without a display, it
picks GLFW and dies at the first picture; set to ``egl`` without the libraries, it dies at the
import, even if no picture is ever wanted. So the libraries are asked first, through ctypes:

    the user's MUJOCO_GL → a display (GLFW) → EGL, if a device initialises → OSMesa → disabled

With ``disabled`` everything but pixels works.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from aime_agent.errors import RenderError

CURE = "apt-get install -y libegl1 libgl1"
_EGL_PLATFORM_DEVICE = 0x313F
_GL_LIBRARIES = ("libOpenGL.so.0", "libGL.so.1")

_rendering_pid: int | None = None


class GLReport(NamedTuple):
    """What `choose_backend` found."""

    backend: str
    reason: str
    tried: tuple[str, ...]
    cure: str

    @property
    def can_render(self) -> bool:
        """Whether this process can make pictures."""
        return self.backend not in ("disabled", "disable", "off", "false", "0")


def decide(
    environ: Mapping[str, str],
    platform: str,
    probe_egl: Callable[[], str],
    probe_osmesa: Callable[[], str],
) -> GLReport:
    """Chooses a back-end. A probe returns the empty string when it works, else what is missing.

    >>> decide({}, "linux", lambda: "no libEGL.so.1", lambda: "").backend
    'osmesa'
    >>> decide({"MUJOCO_GL": "egl"}, "linux", lambda: "no libEGL.so.1", lambda: "").reason
    'MUJOCO_GL is set'
    """
    if environ.get("MUJOCO_GL"):
        return GLReport(environ["MUJOCO_GL"].lower(), "MUJOCO_GL is set", (), CURE)
    if platform != "linux":
        return GLReport("glfw", f"the usual choice on {platform}", (), "")
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        return GLReport("glfw", "a display is present", (), CURE)
    tried: list[str] = []
    for name, probe in (("egl", probe_egl), ("osmesa", probe_osmesa)):
        missing = probe()
        if not missing:
            return GLReport(name, f"{name} works", tuple(tried), CURE)
        tried.append(f"{name}: {missing}")
    return GLReport("disabled", "no back-end works", tuple(tried), CURE)


@cache
def choose_backend() -> GLReport:
    """Chooses the back-end once per process and sets ``MUJOCO_GL`` for the imports to come.

    If dm_control has been imported before, its choice stands, and the report says so.
    """
    render = sys.modules.get("dm_control._render")
    if render is not None:
        backend = str(getattr(render, "BACKEND", None) or "disabled")
        return GLReport(backend, "dm_control was imported before aime_agent.envs", (), CURE)
    report = decide(os.environ, sys.platform, _probe_egl, _probe_osmesa)
    if report.backend != "glfw":
        os.environ["MUJOCO_GL"] = report.backend
    return report


def import_after_choice(module: str) -> Any:
    """Imports a module that reads ``MUJOCO_GL``, after the choice has been made.

    Raises:
        RenderError: the back-end the user asked for cannot be loaded.
    """
    report = choose_backend()
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise
    except (ImportError, AttributeError, RuntimeError) as error:
        raise RenderError(
            f"MUJOCO_GL={report.backend} cannot be loaded ({report.reason}): {error}. "
            f"Unset MUJOCO_GL to have a back-end chosen, or run: {report.cure}"
        ) from error


def require_pixels(who: str) -> None:
    """Raises `RenderError` if ``who`` cannot be given pictures in this process."""
    report = choose_backend()
    if not report.can_render:
        tried = "; ".join(report.tried) or report.reason
        raise RenderError(
            f"{who} needs OpenGL, and none was found ({tried}). Run: {report.cure}  "
            "(states need no OpenGL: observation='state')"
        )
    refuse_fork(who)


def refuse_fork(who: str) -> None:
    """Raises `RenderError` in a process forked from one that has rendered.

    An OpenGL context does not survive a fork: the child would wait for ever at its first picture.
    """
    if inherited():
        raise RenderError(
            f"{who}: this process was forked from one that has rendered, and OpenGL would hang "
            "here. Start processes by 'forkserver' or 'spawn' (make_vector does)."
        )


def claim(who: str) -> None:
    """Remembers that this process renders; see `refuse_fork`."""
    global _rendering_pid
    refuse_fork(who)
    _rendering_pid = os.getpid()


def inherited() -> bool:
    """Whether this process was forked from one that had rendered."""
    return _rendering_pid not in (None, os.getpid())


def _probe_egl() -> str:
    """Initialises and ends one EGL display per device until one works."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return "libEGL.so.1 is missing"
    if not any(_loads(name) for name in _GL_LIBRARIES):
        return "libGL.so.1 is missing"
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_of = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return "libEGL lacks the device extension"
    return _initialise_any(egl, query, display_of)


def _initialise_any(egl: ctypes.CDLL, query: int, display_of: int) -> str:
    pointer = ctypes.c_void_p
    count = ctypes.c_int(0)
    devices = (pointer * 16)()
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, pointer)(query)
    platform_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display_of)
    if not query_devices(len(devices), devices, ctypes.byref(count)):
        return "EGL lists no devices"
    for device in devices[: count.value]:
        display = platform_display(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(pointer(display), None, None):
            egl.eglTerminate(pointer(display))
            return ""
    return f"none of {count.value} EGL devices initialises (no driver)"


def _probe_osmesa() -> str:
    """Looks for the library only; Mesa removed it in version 25.1."""
    if any(_loads(name) for name in ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")):
        return ""
    return "libOSMesa is missing"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
