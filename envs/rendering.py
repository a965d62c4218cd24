"""Pictures of a physics at three render qualities.

A picture on the CPU costs its fixed work (shadow map, tessellation, multisampling), not its
pixels. Costs and differences are measured in ``docs/environments.md``.

- ``standard``: the suite's own look, equal to dm_control bit for bit.
- ``fast``: shadow map 256, tessellation 12. Equal to the eye.
- ``minimal``: no shadow, no reflection, no multisampling, tessellation 12. Visibly different.

The offscreen buffer is cut to the largest picture wanted, which changes no pixel.
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int32, UInt8

from aime_agent.envs import gl
from aime_agent.errors import ConfigError, nearest

RenderQuality = Literal["standard", "fast", "minimal"]
QUALITIES: tuple[str, ...] = get_args(RenderQuality)


class _Look(NamedTuple):
    quality: dict[str, int]
    flags: dict[str, bool]


_LOOKS = {
    "standard": _Look({}, {}),
    "fast": _Look({"shadowsize": 256, "numslices": 12, "numstacks": 12}, {}),
    "minimal": _Look(
        {"offsamples": 0, "numslices": 12, "numstacks": 12},
        {"shadow": False, "reflection": False},
    ),
}


def style_model(model: Any, quality: RenderQuality, largest: tuple[int, int]) -> None:
    """Writes a render quality into ``model.vis``; acts on OpenGL contexts made afterwards."""
    for name, value in _LOOKS[quality].quality.items():
        setattr(model.vis.quality, name, value)
    model.vis.global_.offwidth, model.vis.global_.offheight = largest


def camera_names(model: Any) -> list[str]:
    """Returns the names of the fixed cameras, in order."""
    return [model.id2name(i, "camera") for i in range(model.ncam)]


def camera_index(model: Any, camera: int | str) -> int:
    """Returns the index of a camera given by name or by index (-1 is the free camera)."""
    names = camera_names(model)
    if isinstance(camera, str):
        if camera not in names:
            raise ConfigError(f"camera_id: no camera {camera!r}. {nearest(camera, names)}")
        return names.index(camera)
    if not -1 <= camera < len(names):
        raise ConfigError(
            f"camera_id must be between -1 and {len(names) - 1} {names}, found {camera}"
        )
    return camera


class PhysicsRenderer:
    """Renders a dm_control physics; styles its model anew if the physics was rebuilt."""

    def __init__(
        self, physics: Any, camera: int, quality: RenderQuality, largest: tuple[int, int]
    ) -> None:
        self._physics, self._camera = physics, camera
        self._quality, self._largest = quality, largest
        self._styled: Any = None
        self._cameras: dict[tuple[int, int], Any] = {}
        self.prepare()

    def prepare(self) -> None:
        """Styles the model, if it is one this renderer has not seen."""
        if self._styled is not self._physics.model:
            self._cameras.clear()
            self._styled = self._physics.model
            style_model(self._styled, self._quality, self._largest)

    def picture(self, width: int, height: int) -> UInt8[np.ndarray, "H W 3"]:
        """Returns a new picture of the present state."""
        flags = dict(_LOOKS[self._quality].flags)
        image = self._camera_of(width, height).render(render_flag_overrides=flags)
        return np.array(image, order="C")

    def segments(self, width: int, height: int) -> Int32[np.ndarray, "H W 2"]:
        """Returns (object id, object type) of every pixel, (-1, -1) where there is nothing."""
        image = self._camera_of(width, height).render(segmentation=True)
        return np.array(image, dtype=np.int32, order="C")

    def _camera_of(self, width: int, height: int) -> Any:
        gl.claim("render")
        self.prepare()
        if (width, height) not in self._cameras:
            self._cameras[width, height] = gl.import_after_choice(
                "dm_control.mujoco.engine"
            ).Camera(self._physics, height=height, width=width, camera_id=self._camera)
        return self._cameras[width, height]

    def close(self) -> None:
        """Forgets the cameras, whose scenes are freed with them."""
        self._cameras.clear()
