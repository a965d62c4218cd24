"""Finite scalar quantisation (Mentzer et al., 2023): each coordinate is rounded by itself.

    h   = (L − 1)(1 + ε) / 2,    o = ½ for even L, 0 for odd,    s = atanh(o / h)
    b   = h tanh(z + s) − o                      reaches exactly L integers when rounded
    c   = round(b) / ⌊L/2⌋                       code in [−1, 1], straight-through
    id  = Σ_i (c_i ⌊L_i/2⌋ + ⌊L_i/2⌋) Π_{j<i} L_j

The codebook is the grid of all products of levels: nothing is learned, so nothing can collapse.
Levels (8, 5, 5, 5) give 1000 codes. d coordinates, one level L_i each.

>>> import torch
>>> scalar_ids(scalar_codes(torch.tensor([999]), (8, 5, 5, 5)), (8, 5, 5, 5))
tensor([999])
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aime_agent.functional.quantization import straight_through

MARGIN = 1e-3


def bound_scalars(
    z: Float[Tensor, "*batch d"], levels: tuple[int, ...]
) -> Float[Tensor, "*batch d"]:
    """Squashes each coordinate onto the range of its integers; the slope is at most h."""
    half, offset = _half(levels, z), _offset(levels, z)
    return half * torch.tanh(z + torch.atanh(offset / half)) - offset


def quantise_scalars(
    z: Float[Tensor, "*batch d"], levels: tuple[int, ...]
) -> Float[Tensor, "*batch d"]:
    """Returns codes in [−1, 1] with the gradient of the bounded coordinates.

    >>> quantise_scalars(torch.tensor([[-9.0, 0.2, 9.0]]), (5, 5, 5))
    tensor([[-1.,  0.,  1.]])
    """
    bounded = bound_scalars(z, levels)
    return straight_through(bounded, bounded.round()) / _width(levels, z)


def scalar_ids(codes: Float[Tensor, "*batch d"], levels: tuple[int, ...]) -> Int[Tensor, "*batch"]:
    """Returns the index of each code, in [0, Π L)."""
    digits = ((codes + 1) * _width(levels, codes)).round().long()
    return (digits * _basis(levels, codes)).sum(-1)


def scalar_codes(
    ids: Int[Tensor, "*batch"], levels: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*batch {len(levels)}"]:
    """Returns the codes of indices; inverts `scalar_ids`."""
    digits = ids.unsqueeze(-1) // _basis(levels, ids) % torch.tensor(levels, device=ids.device)
    width = torch.tensor([n // 2 for n in levels], dtype=dtype, device=ids.device)
    return digits.to(dtype) / width - 1


def _half(levels: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_tensor([(n - 1) * (1 + MARGIN) / 2 for n in levels])


def _offset(levels: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_tensor([0.0 if n % 2 else 0.5 for n in levels])


def _width(levels: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_tensor([n // 2 for n in levels])


def _basis(levels: tuple[int, ...], like: Tensor) -> Tensor:
    steps = [math.prod(levels[:i]) for i in range(len(levels))]
    return torch.tensor(steps, device=like.device)
