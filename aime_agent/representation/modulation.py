"""Precision weighting: features scaled by where attention is.

    gain = 1 + γ (Ā − 1),        Ā = A resized to the grid and divided by its mean

A map that sums to one would shrink features by the number of cells; Ā has mean one at every
resolution, so γ alone sets the strength.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def mean_one_map(
    attention_map: Float[Tensor, "N R1 R2"], size: tuple[int, int]
) -> Float[Tensor, "N 1 H W"]:
    """Returns the map averaged over the cells of another grid, with mean one.

    Any map size fits any grid: coarser grids average, finer ones repeat.
    """
    pooled = F.adaptive_avg_pool2d(attention_map.unsqueeze(1), size)
    return pooled / pooled.mean((-2, -1), keepdim=True).clamp_min(1e-8)


def attention_gain(
    attention_map: Float[Tensor, "N R1 R2"],
    strength: float | Float[Tensor, ""],
    size: tuple[int, int],
) -> Float[Tensor, "N 1 H W"]:
    """Returns 1 + strength · (Ā − 1) on a grid."""
    return 1 + strength * (mean_one_map(attention_map, size) - 1)
