"""Pictures of slots: tensors in, tensors out, colours that colour-blind readers can tell apart.

Each slot has a colour of `PALETTE` (Okabe and Ito, 2008, with grey for black); beyond eight
slots the colours repeat.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.spatial import coordinate_grid

PALETTE: tuple[tuple[float, float, float], ...] = (
    (0.902, 0.624, 0.000),  # orange
    (0.337, 0.706, 0.914),  # sky blue
    (0.000, 0.620, 0.451),  # bluish green
    (0.941, 0.894, 0.259),  # yellow
    (0.000, 0.447, 0.698),  # blue
    (0.835, 0.369, 0.000),  # vermilion
    (0.800, 0.475, 0.655),  # reddish purple
    (0.600, 0.600, 0.600),  # grey
)

ReturnMode = Literal["all", "combined", "slots", "groups"]
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "all": ("slot_overlays", "semantic_segmentation", "combined_with_contours"),
    "slots": ("slot_overlays",),
    "groups": ("semantic_segmentation",),
    "combined": ("combined_with_contours",),
}


def visualize_slots(
    observation: Float[Tensor, "B C H W"],
    slot_attention_maps: Float[Tensor, "B S R R"],
    slot_centers: Float[Tensor, "B S 2"],
    group_assignments: Float[Tensor, "B R R S"] | None = None,
    return_mode: ReturnMode = "all",
) -> dict[str, Tensor]:
    """Draws slots over frames.

    Args:
        observation: Frames in [0, 1], grey or RGB; values outside are clamped.
        slot_attention_maps: One map per slot.
        slot_centers: Centres (x, y) in [-1, 1].
        group_assignments: Responsibilities; the maps decide ownership where they are absent.
        return_mode: ``slots``, ``groups``, ``combined``, or ``all`` three pictures.

    Returns:
        ``slot_overlays [B*S, 3, H, W]``, ``semantic_segmentation [B, 3, H, W]`` and
        ``combined_with_contours [B, 3, H, W]``, or the one asked for.

    Raises:
        ConfigError: ``return_mode`` is unknown.
    """
    if return_mode not in _OUTPUTS:
        known = ", ".join(repr(m) for m in _OUTPUTS)
        raise ConfigError(f"return_mode must be one of {known}, found {return_mode!r}")
    image = as_rgb(observation)
    height, width = image.shape[-2:]
    maps = slot_attention_maps.detach()
    owners = maps if group_assignments is None else group_assignments.detach().movedim(-1, 1)
    labels = dominant_slot(owners, height, width)
    pictures: dict[str, Tensor] = {}
    for name in _OUTPUTS[return_mode]:
        match name:
            case "slot_overlays":
                pictures[name] = slot_overlays(image, maps)
            case "semantic_segmentation":
                pictures[name] = segmentation(labels, maps.shape[1], image)
            case _:
                pictures[name] = draw_centers(
                    draw_contours(image, labels, maps.shape[1]), slot_centers.detach()
                )
    return pictures


def as_rgb(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 H W"]:
    """Returns three channels in [0, 1].

    Raises:
        ShapeError: the images have neither 1 nor 3 channels.
    """
    if images.shape[1] not in (1, 3):
        raise ShapeError(f"images: 1 or 3 channels required, found {images.shape[1]}")
    return images.detach().clamp(0, 1).expand(-1, 3, -1, -1)


def slot_colors(count: int, like: Tensor) -> Float[Tensor, "{count} 3"]:
    """Returns one colour per slot, with the dtype and device of ``like``."""
    palette = torch.tensor(PALETTE, dtype=like.dtype, device=like.device)
    return palette[torch.arange(count, device=like.device) % len(PALETTE)]


def slot_overlays(
    images: Float[Tensor, "B 3 H W"], maps: Float[Tensor, "B S R R"], opacity: float = 0.6
) -> Float[Tensor, "B*S 3 H W"]:
    """Returns each frame once per slot, tinted where the slot looks (its maximum is opaque)."""
    big = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)
    alpha = opacity * big / big.amax((-2, -1), keepdim=True).clamp_min(1e-12)
    color = slot_colors(maps.shape[1], images)[None, :, :, None, None]
    return torch.lerp(images[:, None], color, alpha[:, :, None]).flatten(0, 1)


def dominant_slot(
    owners: Float[Tensor, "B S R R"], height: int, width: int
) -> Int[Tensor, "B {height} {width}"]:
    """Returns the index of the slot that owns each pixel."""
    return F.interpolate(owners, (height, width), mode="bilinear", align_corners=False).argmax(1)


def segmentation(
    labels: Int[Tensor, "B H W"], slots: int, like: Tensor
) -> Float[Tensor, "B 3 H W"]:
    """Returns labels as colours."""
    return slot_colors(slots, like)[labels].movedim(-1, 1)


def contours(labels: Int[Tensor, "B H W"]) -> Bool[Tensor, "B H W"]:
    """Returns True where the pixel to the right or below belongs to another slot."""
    edges = torch.zeros_like(labels, dtype=torch.bool)
    edges[:, :, :-1] |= labels[:, :, :-1] != labels[:, :, 1:]
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edges


def draw_contours(
    images: Float[Tensor, "B 3 H W"], labels: Int[Tensor, "B H W"], slots: int
) -> Float[Tensor, "B 3 H W"]:
    """Draws the borders between slots, in the colour of the slot they enclose."""
    return torch.where(contours(labels)[:, None], segmentation(labels, slots, images), images)


def draw_centers(
    images: Float[Tensor, "B 3 H W"], centers: Float[Tensor, "B S 2"], radius: float = 0.05
) -> Float[Tensor, "B 3 H W"]:
    """Draws a disc of the slot's colour with a white rim at every centre."""
    grid = coordinate_grid(images.shape[-2], images.shape[-1], images)
    colors = slot_colors(centers.shape[1], images)
    for center, color in zip(centers.unbind(1), colors, strict=True):
        distance = (grid - center[:, None, None]).norm(dim=-1)[:, None]
        images = torch.where(distance < 1.5 * radius, images.new_ones(()), images)
        images = torch.where(distance < radius, color[:, None, None], images)
    return images
