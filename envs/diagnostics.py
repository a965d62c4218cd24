"""What this machine offers to environments: the substance of ``aime-agent doctor``."""

import os
import time
from importlib import metadata
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

from aime_agent.envs import gl
from aime_agent.envs.rendering import QUALITIES

_NEEDED = {
    "gymnasium": ">=1.3,<2",
    "mujoco": ">=3.17,<4",
    "dm-control": ">=1.0.50",
    "shimmy": ">=2.0.1",
    "stable-baselines3": ">=2.7",
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS")


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    value: str
    ok: bool
    remedy: str


def environment_report(task: str = "cartpole-balance", frames: int = 10) -> list[Finding]:
    """Looks at versions, OpenGL, threads, torch, ffmpeg and the speed of rendering.

    Args:
        task: Task whose pictures are timed.
        frames: Pictures per quality; 0 times none.
    """
    findings = [_opengl(), *(_version(name, need) for name, need in _NEEDED.items())]
    findings += [_threads(), _torch(), _ffmpeg()]
    if frames and gl.choose_backend().can_render:
        findings += [_render_speed(task, quality, frames) for quality in QUALITIES]
    return findings


def _opengl() -> Finding:
    report = gl.choose_backend()
    tried = f"; tried {', '.join(report.tried)}" if report.tried else ""
    value = f"{report.backend} ({report.reason}{tried})"
    return Finding("OpenGL", value, report.can_render, "" if report.can_render else report.cure)


def _version(package: str, need: str) -> Finding:
    remedy = f"in a fresh virtual environment: pip install '{package}{need}'"
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(package, "missing", False, remedy)
    ok = SpecifierSet(need).contains(found, prereleases=True)
    return Finding(package, f"{found} (needed {need})", ok, "" if ok else remedy)


def _threads() -> Finding:
    named = ", ".join(f"{name}={os.environ.get(name, 'unset')}" for name in _THREADS)
    return Finding("threads", f"{os.cpu_count()} processors, {named}", True, "")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding(
            "torch", f"cannot be imported: {error}", False, "pip install 'torch>=2.8,<3'"
        )
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return Finding(
        "torch", f"{torch.__version__} on {device}, {torch.get_num_threads()} threads", True, ""
    )


def _ffmpeg() -> Finding:
    try:
        import imageio_ffmpeg

        return Finding("ffmpeg", str(imageio_ffmpeg.get_ffmpeg_exe()), True, "")
    except (ImportError, RuntimeError) as error:
        return Finding("ffmpeg", f"missing: {error}", False, "pip install imageio-ffmpeg")


def _render_speed(task: str, quality: str, frames: int) -> Finding:
    """Times pictures of one state, after two that create the context and fill caches."""
    from aime_agent.envs.make import make_env

    env = make_env(task, render_quality=quality)
    env.reset(seed=0)
    picture = env.get_wrapper_attr("current_observation")
    picture()
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        picture()
        times.append(time.perf_counter() - start)
    env.close()
    milliseconds = 1000 * min(times)
    return Finding(f"render {quality}", f"{milliseconds:.1f} ms a frame ({task}, 64 px)", True, "")
