"""Slot attention (Locatello et al., 2020, arXiv:2006.15055).

    k_n, v_n = W_k LN(x_n), W_v LN(x_n)                      once per input
    repeat:  q_s = W_q LN(slot_s)
             M_sn = softmax over s of q_s·k_n / √d           slots compete for inputs
             u_s  = Σ_n M_sn v_n / (Σ_n M_sn + ε)            weighted mean, whatever N is
             slot_s ← GRU(u_s, slot_s);  slot_s += MLP(LN(slot_s))

The initial slots are learned queries, or samples of one learned Gaussian. By default the
iterations before the last carry no graph and the initial slots receive the gradient of the last
one straight through, s ← sg(s) + init - sg(init) (Jia et al., 2023, arXiv:2210.08990).
Letters: B batch, N inputs, S slots, D slot size. With several heads M is the mean over heads.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.shapes import validate_shape

_REMEDY = "Flatten feature maps first: x = features.flatten(2).transpose(1, 2)"


class SlotOutput(NamedTuple):
    """Slots and who explains what."""

    slots: Float[Tensor, "B S D"]
    attn: Float[Tensor, "B S N"]
    """Responsibilities of the last iteration; they sum to 1 over slots."""


@dataclass(frozen=True, kw_only=True)
class SlotAttentionConfig:
    """Settings of `SlotAttention`."""

    num_slots: int = 4
    in_dim: int = 64
    slot_dim: int = 64
    iters: int = 3
    mlp_hidden: int = 128
    eps: float = 1e-8
    """Added to the mass of a slot; 1.0 lets the update of an empty slot vanish."""
    num_heads: int = 1
    init: Literal["learned", "gaussian"] = "learned"
    gradient: Literal["bilevel", "full"] = "bilevel"
    """Whether the gradient flows through the last iteration only, or through all of them."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        for name in ("num_slots", "in_dim", "slot_dim", "iters", "mlp_hidden", "num_heads"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(f"SlotAttentionConfig.{name} must be at least 1, found {value}")
        if self.eps <= 0:
            raise ConfigError(f"SlotAttentionConfig.eps must be positive, found {self.eps}")
        if self.slot_dim % self.num_heads:
            raise ConfigError(
                "SlotAttentionConfig.slot_dim must be a multiple of num_heads, "
                f"found {self.slot_dim} and {self.num_heads}"
            )
        if self.init not in ("learned", "gaussian"):
            raise ConfigError(
                f"SlotAttentionConfig.init must be 'learned' or 'gaussian', found {self.init!r}"
            )
        if self.gradient not in ("bilevel", "full"):
            raise ConfigError(
                f"SlotAttentionConfig.gradient must be 'bilevel' or 'full', found {self.gradient!r}"
            )


class SlotAttention(nn.Module):
    """Binds a set of inputs to a few competing slots."""

    def __init__(self, config: SlotAttentionConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or SlotAttentionConfig(), **overrides)
        self.norm_inputs = nn.LayerNorm(c.in_dim)
        self.to_kv = nn.Linear(c.in_dim, 2 * c.slot_dim, bias=False)
        self.norm_slots = nn.LayerNorm(c.slot_dim)
        self.to_q = nn.Linear(c.slot_dim, c.slot_dim, bias=False)
        self.gru = nn.GRUCell(c.slot_dim, c.slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(c.slot_dim),
            nn.Linear(c.slot_dim, c.mlp_hidden),
            nn.ReLU(),
            nn.Linear(c.mlp_hidden, c.slot_dim),
        )
        rows = c.num_slots if c.init == "learned" else 1
        self.queries = nn.Parameter(torch.randn(rows, c.slot_dim))
        gaussian = c.init == "gaussian"
        self.log_std = nn.Parameter(torch.zeros(c.slot_dim)) if gaussian else None

    def initial_slots(
        self,
        batch_size: int,
        noise: Float[Tensor, "B S D"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Returns the slots before the first iteration.

        Args:
            batch_size: How many sets.
            noise: Standard normal noise of the Gaussian start; drawn where absent.
            generator: Source of that draw.
        """
        c = self.config
        if self.log_std is None:
            return self.queries.expand(batch_size, -1, -1)
        if noise is None:
            like = self.queries
            shape = (batch_size, c.num_slots, c.slot_dim)
            noise = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        return self.queries + self.log_std.exp() * noise

    def project(
        self, x: Float[Tensor, "*batch N I"]
    ) -> tuple[Float[Tensor, "*batch N D"], Float[Tensor, "*batch N D"]]:
        """Returns keys (already divided by √d) and values; they do not change over iterations."""
        c = self.config
        k, v = self.to_kv(self.norm_inputs(x)).chunk(2, dim=-1)
        return k * (c.slot_dim // c.num_heads) ** -0.5, v

    def iterate(
        self, slots: Float[Tensor, "B S D"], k: Float[Tensor, "B N D"], v: Float[Tensor, "B N D"]
    ) -> SlotOutput:
        """Runs one iteration on the keys and values of `project`."""
        c = self.config
        q = self._split(self.to_q(self.norm_slots(slots)))
        attn = torch.bmm(q, self._split(k).mT).softmax(dim=1)
        # 1e-8 is 0 in float16, and an empty slot would divide by it.
        eps = max(c.eps, torch.finfo(attn.dtype).tiny)
        mass = attn.sum(-1, keepdim=True) + eps
        updates = self._merge(torch.bmm(attn, self._split(v)) / mass)
        flat = self.gru(updates.reshape(-1, c.slot_dim), slots.reshape(-1, c.slot_dim))
        flat = flat + self.mlp(flat)
        if c.num_heads > 1:
            attn = attn.view(-1, c.num_heads, *attn.shape[1:]).mean(1)
        return SlotOutput(flat.view_as(updates), attn)

    def refine(
        self,
        slots: Float[Tensor, "B S D"],
        k: Float[Tensor, "B N D"],
        v: Float[Tensor, "B N D"],
        iterations: int,
    ) -> Float[Tensor, "B S D"]:
        """Runs the iterations before the last one, under the configured gradient rule."""
        if iterations < 1:
            return slots
        if self.config.gradient == "full":
            for _ in range(iterations):
                slots = self.iterate(slots, k, v).slots
            return slots
        with torch.no_grad():
            refined = slots
            for _ in range(iterations):
                refined = self.iterate(refined, k, v).slots
        return refined + (slots - slots.detach())

    def forward(
        self,
        x: Float[Tensor, "..."],
        seed_slots: Float[Tensor, "..."] | None = None,
        noise: Float[Tensor, "..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> SlotOutput:
        """Binds the inputs ``x [B, N, in_dim]`` to slots.

        Args:
            x: A set of inputs.
            seed_slots: Initial slots ``[B, S, D]``, used as they are; any number of slots.
            noise: Standard normal noise ``[B, S, D]`` of the Gaussian start.
            generator: Source of that noise where it is absent.
        """
        c = self.config
        validate_shape(x, (-1, -1, c.in_dim), "SlotAttention.x", _REMEDY)
        if seed_slots is None:
            seed_slots = self.initial_slots(x.shape[0], noise, generator)
        validate_shape(seed_slots, (x.shape[0], -1, c.slot_dim), "SlotAttention.seed_slots")
        k, v = self.project(x)
        return self.iterate(self.refine(seed_slots, k, v, c.iters - 1), k, v)

    def _split(self, x: Tensor) -> Tensor:
        heads = self.config.num_heads
        if heads == 1:
            return x
        return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2).flatten(0, 1)

    def _merge(self, x: Tensor) -> Tensor:
        heads = self.config.num_heads
        if heads == 1:
            return x
        return x.view(-1, heads, *x.shape[1:]).transpose(1, 2).flatten(2)
