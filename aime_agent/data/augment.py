"""Zoom and shift of image sequences, on the device, from given uniform numbers.

Every frame of a sequence gets the same box or shift, so motion stays true; actions never change.
Training only.

Zoom (the seeds' ``HumanoidAwareZoomTransform``): keep a share a ∈ [0.60, 0.85] of the area, with
the subject at x a fraction f ∈ [0.70, 0.85] of the way to a random corner κ ∈ {−1, 1}² of the box:

    s = √a,   k = clip(x − s f κ, −(1 − s), 1 − s),   out(p) = in(k + s p),   p ∈ [−1, 1]²

Shift (DrQ; Yarats et al., 2021): pad by n border pixels, crop at a random place.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.shapes import validate_shape

ZOOM_UNIFORMS = 5
SHIFT_UNIFORMS = 2


@dataclass(frozen=True, kw_only=True)
class ZoomCropConfig:
    """Settings of `ZoomCrop`; pairs are the ends of a uniform range."""

    probability: float = 0.6
    """Share of sequences that are zoomed."""
    area: tuple[float, float] = (0.60, 0.85)
    """Share of the image's area that is kept."""
    placement: tuple[float, float] = (0.70, 0.85)
    """How far the subject lies toward a corner of the box."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        if not 0 <= self.probability <= 1:
            raise ConfigError(
                f"ZoomCropConfig.probability must be in [0, 1], found {self.probability}"
            )
        for name in ("area", "placement"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(
                    f"ZoomCropConfig.{name} must rise within (0, 1], found {(low, high)}"
                )


class ZoomCrop:
    """Zooms into a box around the subject, the same for all frames of a sequence.

    >>> frames = torch.rand(2, 3, 1, 8, 8)
    >>> ZoomCrop()(frames, torch.rand(2, ZOOM_UNIFORMS)).shape
    torch.Size([2, 3, 1, 8, 8])
    """

    def __init__(self, config: ZoomCropConfig | None = None, **overrides: Any) -> None:
        self.config = override(config or ZoomCropConfig(), **overrides)

    def __call__(
        self,
        observations: Shaped[Tensor, "B T C H W"],
        uniforms: Float[Tensor, "B 5"],
        centers: Float[Tensor, "B 2"] | None = None,
    ) -> Shaped[Tensor, "B T C H W"]:
        """Returns zoomed sequences of the same shape and dtype.

        Args:
            observations: uint8, or floats in any range (the result stays inside their range).
            uniforms: Numbers in [0, 1): whether to zoom, area, placement, two corner signs.
            centers: Where the subject is, (x, y) in [-1, 1]; the image centre unless given.
        """
        validate_shape(uniforms, (len(observations), ZOOM_UNIFORMS), "uniforms")
        side, center = zoom_box(self.config, uniforms, centers)
        frames = observations.flatten(1, 2)
        pixels = frames if frames.is_floating_point() else frames.to(uniforms.dtype)
        zoomed = F.grid_sample(
            pixels,
            _grid(side, center, observations.shape[-2], observations.shape[-1]).to(pixels.dtype),
            padding_mode="border",
            align_corners=False,
        )
        zoomed = zoomed if frames.is_floating_point() else zoomed.round().to(frames.dtype)
        chosen = (uniforms[:, 0] < self.config.probability)[:, None, None, None]
        return torch.where(chosen, zoomed, frames).view_as(observations)


@dataclass(frozen=True, kw_only=True)
class RandomShiftConfig:
    """Settings of `RandomShift`."""

    pad: int = 4
    """Largest shift, in pixels."""

    def __post_init__(self) -> None:
        """Checks the range."""
        if self.pad < 0:
            raise ConfigError(f"RandomShiftConfig.pad must be at least 0, found {self.pad}")


class RandomShift:
    """Shifts all frames of a sequence by the same whole number of pixels, repeating the border.

    >>> frames = torch.arange(4.0).view(1, 1, 1, 2, 2)
    >>> RandomShift(pad=1)(frames, torch.tensor([[0.0, 0.5]])).flatten()
    tensor([0., 1., 0., 1.])
    """

    def __init__(self, config: RandomShiftConfig | None = None, **overrides: Any) -> None:
        self.config = override(config or RandomShiftConfig(), **overrides)

    def __call__(
        self, observations: Shaped[Tensor, "B T C H W"], uniforms: Float[Tensor, "B 2"]
    ) -> Shaped[Tensor, "B T C H W"]:
        """Returns shifted sequences of the same shape and dtype; every pixel is an input pixel.

        Args:
            observations: Any dtype.
            uniforms: Numbers in [0, 1): the vertical and the horizontal shift.
        """
        validate_shape(uniforms, (len(observations), SHIFT_UNIFORMS), "uniforms")
        batch = torch.arange(len(observations), device=observations.device)[:, None, None]
        rows = _shifted(observations.shape[-2], uniforms[:, 0], self.config.pad)
        columns = _shifted(observations.shape[-1], uniforms[:, 1], self.config.pad)
        moved = observations.movedim((3, 4), (1, 2))[batch, rows[:, :, None], columns[:, None]]
        return moved.movedim((1, 2), (3, 4))


def zoom_box(
    config: ZoomCropConfig,
    uniforms: Float[Tensor, "B 5"],
    centers: Float[Tensor, "B 2"] | None = None,
) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 2"]]:
    """Returns side s and centre k of the boxes, in coordinates where the image is [-1, 1]².

    Args:
        config: Ranges of area and placement.
        uniforms: As in `ZoomCrop`.
        centers: Where the subject is; the image centre unless given.
    """
    subject = uniforms.new_zeros(len(uniforms), 2) if centers is None else centers
    side = _between(config.area, uniforms[:, 1:2]).sqrt()
    corner = torch.where(uniforms[:, 3:5] < 0.5, -1.0, 1.0).to(uniforms.dtype)
    center = subject - side * _between(config.placement, uniforms[:, 2:3]) * corner
    room = 1 - side
    return side, center.maximum(-room).minimum(room)


def _between(ends: tuple[float, float], uniforms: Float[Tensor, "B 1"]) -> Float[Tensor, "B 1"]:
    return ends[0] + (ends[1] - ends[0]) * uniforms


def _grid(
    side: Float[Tensor, "B 1"], center: Float[Tensor, "B 2"], height: int, width: int
) -> Float[Tensor, "B {height} {width} 2"]:
    """Sampling places k + s p of the output pixels."""
    scale = torch.diag_embed(side.expand(-1, 2))
    theta = torch.cat([scale, center[:, :, None]], dim=-1)
    return F.affine_grid(theta, [len(side), 1, height, width], align_corners=False)


def _shifted(size: int, uniforms: Float[Tensor, " B"], pad: int) -> Int64[Tensor, "B {size}"]:
    """Source indices of one axis, per sequence."""
    offset = (uniforms * (2 * pad + 1)).floor().long() - pad
    index = torch.arange(size, device=uniforms.device)
    return (index + offset[:, None]).clamp(0, size - 1)
