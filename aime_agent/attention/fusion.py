"""From slots to one attention map.

    p_s(n) = M_sn / Σ_n M_sn,      π = softmax_s(score(slot_s, top-down))
    weighted   A = Σ_s π_s p_s                    sums to 1, any entropy can be reached
    gated      A ∝ Σ_s σ(score_s) p_s
    max        A ∝ max_s π_s p_s

The score is one small network shared by all slots, so reordering slots reorders the weights.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import normalize_mass

FusionMode = Literal["weighted", "max", "gated"]


class Fusion(NamedTuple):
    """A fused map and the share of each slot in it."""

    attention: Float[Tensor, "B H W"]
    weights: Float[Tensor, "B S"]


def check_fusion_mode(mode: str, owner: str) -> None:
    """Raises `ConfigError` unless ``mode`` is a known way to fuse."""
    if mode not in get_args(FusionMode):
        known = ", ".join(repr(m) for m in get_args(FusionMode))
        raise ConfigError(f"{owner} must be one of {known}, found {mode!r}")


def fuse_slot_maps(
    maps: Float[Tensor, "B S H W"], scores: Float[Tensor, "B S"], mode: FusionMode
) -> Fusion:
    """Fuses maps that are normalised over space."""
    match mode:
        case "weighted":
            weights = scores.softmax(-1)
            return Fusion(torch.einsum("bs,bshw->bhw", weights, maps), weights)
        case "gated":
            gates = scores.sigmoid() + 1e-8
            weights = gates / gates.sum(-1, keepdim=True)
            return Fusion(torch.einsum("bs,bshw->bhw", weights, maps), weights)
        case _:
            weights = scores.softmax(-1)
            return Fusion(normalize_mass((weights[..., None, None] * maps).amax(1)), weights)


class SlotScore(nn.Module):
    """Scores every slot with the same weights, given top-down features."""

    def __init__(self, slot_dim: int, top_down_dim: int, hidden: int) -> None:
        super().__init__()
        self.slot = nn.Linear(slot_dim, hidden)
        self.top_down = nn.Linear(top_down_dim, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)

    def forward(
        self, slots: Float[Tensor, "B S D"], top_down: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B S"]:
        """Returns one score per slot."""
        mixed = self.slot(slots) + self.top_down(top_down)[:, None]
        return self.out(torch.tanh(mixed)).squeeze(-1)
