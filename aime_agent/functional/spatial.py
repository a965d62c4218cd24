"""Attention maps as distributions over a grid.

A map A [R, R] is non-negative and sums to 1. Coordinates run from -1 to 1 over cell centres,
x along columns and y along rows, so that one cell is 2 / (R - 1).

    normalise      p(n)  = (m(n) + e) / Σ_n (m(n) + e)
    centre         CoM   = Σ_n p(n) x(n)
    experts        log A = g log A₁ + (1 - g) log A₂ - log Z   (Hinton, 2002)

A softmax of a map that is already normalised can leave uniform by 0.12 nats at most; therefore
maps are normalised by their mass, or in log space, and never twice.

>>> center_of_mass(torch.eye(3)[None, 2].expand(3, 3))
tensor([1., 0.])
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def coordinate_grid(height: int, width: int, like: Tensor) -> Float[Tensor, "{height} {width} 2"]:
    """Returns (x, y) of every cell in [-1, 1], with the dtype and device of ``like``."""
    y = torch.linspace(-1.0, 1.0, height, dtype=like.dtype, device=like.device)
    x = torch.linspace(-1.0, 1.0, width, dtype=like.dtype, device=like.device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1)


def normalize_mass(
    maps: Float[Tensor, "*batch H W"], eps: float = 1e-8
) -> Float[Tensor, "*batch H W"]:
    """Divides each map by its mass over space; negative entries count as zero.

    A map without mass becomes uniform, so the result is finite for any finite input.
    """
    positive = maps.clamp_min(0) + eps
    return positive / positive.sum((-2, -1), keepdim=True)


def center_of_mass(
    maps: Float[Tensor, "*batch H W"], eps: float = 1e-8
) -> Float[Tensor, "*batch 2"]:
    """Returns the centre (x, y) of each map in [-1, 1]; an empty map lies at the origin."""
    grid = coordinate_grid(maps.shape[-2], maps.shape[-1], maps).flatten(0, 1)
    return normalize_mass(maps, eps).flatten(-2) @ grid


def to_cells(coords: Float[Tensor, "*batch 2"], size: int) -> Float[Tensor, "*batch 2"]:
    """Turns coordinates in [-1, 1] into (column, row) of a ``size`` x ``size`` grid.

    >>> to_cells(torch.tensor([-1.0, 1.0]), 21)
    tensor([ 0., 20.])
    """
    return (coords + 1) * ((size - 1) / 2)


def resize_features(
    features: Float[Tensor, "N C H W"], height: int, width: int
) -> Float[Tensor, "N C {height} {width}"]:
    """Resizes feature maps: area pooling down, bilinear interpolation up."""
    if features.shape[-2:] == (height, width):
        return features
    if height <= features.shape[-2] and width <= features.shape[-1]:
        return F.adaptive_avg_pool2d(features, (height, width))
    return F.interpolate(features, (height, width), mode="bilinear", align_corners=False)


def log_product_of_experts(
    log_first: Float[Tensor, "*batch H W"],
    log_second: Float[Tensor, "*batch H W"],
    gate: float | Float[Tensor, "*#batch 1 1"] | Float[Tensor, ""],
) -> Float[Tensor, "*batch H W"]:
    """Returns log A of A ∝ A₁^g A₂^(1-g), normalised over space."""
    mixed = log_second + gate * (log_first - log_second)
    return torch.log_softmax(mixed.flatten(-2), dim=-1).view_as(mixed)


def map_entropy(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch"]:
    """Returns the entropy of normalised maps in nats (log R² where uniform)."""
    return -torch.xlogy(maps, maps).sum((-2, -1))


def read_under(
    values: Float[Tensor, "*batch C H W"], maps: Float[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch C"]:
    """Returns the mean of ``values`` weighted with normalised maps, Σ_n A(n) f(n)."""
    return (values.flatten(-2) @ maps.flatten(-2).unsqueeze(-1)).squeeze(-1)
