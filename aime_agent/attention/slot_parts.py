"""Fine slots inside coarse ones: parts of a whole (seed 000's hierarchical slot attention).

    M_s(n)     responsibilities of the S coarse slots, sum to 1 over s
    q_sp       = W_q LN(part_sp),          part_sp starts at coarse_s + learned query_p
    P_sp(n)    = M_s(n) softmax_p(q_sp·k_n / √d)          so  Σ_p P_sp = M_s
    part_sp  ← GRU(Σ_n P_sp v_n / (Σ_n P_sp + ε), part_sp);   part_sp += MLP(LN(part_sp))

The seeds run two slot attentions side by side, four slots and sixteen, and nothing ties a part to
its object. Here parts share out what their own slot explains: which whole a part belongs to is its
first index, and the masks of the parts add up to the mask of the whole.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError

_EPS = 1e-8


class Parts(NamedTuple):
    """P parts of each of S slots."""

    slots: Float[Tensor, "B S P D"]
    responsibilities: Float[Tensor, "B S P N"]
    """Sum to the coarse slot's over its parts, and to 1 over all."""


@dataclass(frozen=True, kw_only=True)
class SlotPartsConfig:
    """Settings of `SlotParts`."""

    num_parts: int = 4
    """P, per coarse slot."""
    slot_dim: int = 64
    """D, of coarse slots and parts alike."""
    in_dim: int = 64
    """Width of the inputs."""
    iters: int = 3
    mlp_hidden: int = 128

    def __post_init__(self) -> None:
        """Checks the settings."""
        for name in ("num_parts", "slot_dim", "in_dim", "iters", "mlp_hidden"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(f"SlotPartsConfig.{name} must be at least 1, found {value}")


class SlotParts(nn.Module):
    """Divides what each slot explains among its parts.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `SlotPartsConfig`.
    """

    def __init__(self, config: SlotPartsConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or SlotPartsConfig(), **overrides)
        self.norm_inputs = nn.LayerNorm(c.in_dim)
        self.to_kv = nn.Linear(c.in_dim, 2 * c.slot_dim, bias=False)
        self.norm_parts = nn.LayerNorm(c.slot_dim)
        self.to_q = nn.Linear(c.slot_dim, c.slot_dim, bias=False)
        self.gru = nn.GRUCell(c.slot_dim, c.slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(c.slot_dim),
            nn.Linear(c.slot_dim, c.mlp_hidden),
            nn.ReLU(),
            nn.Linear(c.mlp_hidden, c.slot_dim),
        )
        self.queries = nn.Parameter(torch.randn(c.num_parts, c.slot_dim))

    def forward(
        self,
        x: Float[Tensor, "B N I"],
        slots: Float[Tensor, "B S D"],
        responsibilities: Float[Tensor, "B S N"],
    ) -> Parts:
        """Finds the parts of every slot.

        Args:
            x: The inputs that the coarse slots were bound to.
            slots: Coarse slots.
            responsibilities: Their shares of the inputs.
        """
        k, v = self.to_kv(self.norm_inputs(x)).chunk(2, dim=-1)
        parts = slots.unsqueeze(2) + self.queries
        shares = responsibilities.unsqueeze(2)
        for _ in range(self.config.iters):
            parts, shares = self._iterate(parts, responsibilities, k, v)
        return Parts(parts, shares)

    def _iterate(
        self, parts: Tensor, whole: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Float[Tensor, "B S P D"], Float[Tensor, "B S P N"]]:
        q = self.to_q(self.norm_parts(parts)) * self.config.slot_dim**-0.5
        within = torch.einsum("bspd,bnd->bspn", q, k).softmax(dim=2)
        shares = whole.unsqueeze(2) * within
        seen = torch.einsum("bspn,bnd->bspd", shares, v) / (shares.sum(-1, keepdim=True) + _EPS)
        flat = self.gru(seen.flatten(0, 2), parts.flatten(0, 2))
        return (flat + self.mlp(flat)).view_as(parts), shares
