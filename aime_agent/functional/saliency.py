"""Where something happens: maps of what neither the background nor the last frame explains.

    s_t(p) = |x_t(p) - b(p)| · |x_t(p) - x_{t-1}(p)|        means over channels; b the background
    S_t    = s_t pooled over cells, normalised              without x_{t-1}: |x_t(p) - b(p)|²

Change alone also sees a textured floor pass under a camera that follows; deviation from the mean
frame alone also sees where it has come to rest.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from aime_agent.functional.spatial import normalize_mass


def change_maps(
    frames: Float[Tensor, "B T C H W"],
    background: Float[Tensor, "C H W"],
    is_first: Bool[Tensor, "B T"],
    side: int,
) -> Float[Tensor, "B T {side} {side}"]:
    """Returns maps of sum 1; uniform where nothing differs.

    Args:
        frames: Films; their first frame has none before it.
        background: The mean frame.
        is_first: Where episodes begin: no change is read across.
        side: R of the maps.
    """
    away = (frames - background).abs().mean(2)
    moved = away.clone()
    moved[:, 1:] = (frames[:, 1:] - frames[:, :-1]).abs().mean(2)
    moved = torch.where(is_first[..., None, None], away, moved)
    pooled = F.adaptive_avg_pool2d((away * moved).flatten(0, 1), (side, side))
    return normalize_mass(pooled, eps=1e-12).unflatten(0, frames.shape[:2])
