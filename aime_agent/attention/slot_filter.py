"""Slots filtered over time, for the loop of the world model (after SAVi, arXiv:2111.12594).

    tokens      k, v, g = projections of LN(W f [+ W' coarser f] + position)   once for all frames
    transition  s^ = s + MLP(FiLM_h(LN(s)) [+ attention over slots])    identity by index
    correct     s = iterate(s^, k, v);   on first frames s^ = learned queries
                [s ← s in the order nearest to s^]         identity by matching, an option
    attention   A = Σ_s π_s M_s^p / Σ_n M_sn^p,  π = softmax_s(w·s);   glimpse = Σ_n A(n) g(n)
    fuse        log A = γ log A_slots + (1 - γ) log A^ - log Z,  γ = σ(gate)

In a dream ``transition`` alone gives the slots. Letters: B batch, N frames, L = R² cells,
S slots, D slot size, G glimpse size.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.attention.slot_attention import SlotAttention
from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional.correspondence import match, reorder, squared_distances
from aime_agent.functional.spatial import (
    center_of_mass,
    log_product_of_experts,
    normalize_mass,
    resize_features,
)

_FLOOR = 1e-8


class SlotTokens(NamedTuple):
    """What slots can bind to; the first dimension may be sliced or unbound."""

    k: Float[Tensor, "N L D"]
    """Keys, already scaled."""
    v: Float[Tensor, "N L D"]
    glimpse_values: Float[Tensor, "N L G"]


class SlotResult(NamedTuple):
    """Slots corrected by one frame."""

    slots: Float[Tensor, "B S D"]
    responsibilities: Float[Tensor, "B S L"]
    """Sum to 1 over slots."""
    attention: Float[Tensor, "B R R"]
    """Bottom-up map; sums to 1."""
    glimpse: Float[Tensor, "B G"]

    @property
    def log_attention(self) -> Float[Tensor, "B R R"]:
        """The logarithm of the map, finite."""
        return self.attention.clamp_min(_FLOOR).log()


class SlotRead(NamedTuple):
    """What people and policies read from responsibilities."""

    maps: Float[Tensor, "*batch S R R"]
    """Each sums to 1 over space."""
    centers: Float[Tensor, "*batch S 2"]
    """(x, y) in [-1, 1]."""
    mass: Float[Tensor, "*batch S"]
    """The share of the frame that a slot explains; sums to 1 over slots."""


@dataclass(frozen=True, kw_only=True)
class SlotFilterConfig:
    """Settings of `SlotFilter`."""

    num_slots: int = 4
    slot_dim: int = 32
    slot_mlp_hidden: int = 64
    attention_resolution: int = 16
    feature_channels: int = 32
    """Channels of the features that come in."""
    coarse_channels: int = 0
    """Channels of a second, coarser map that tokens read too; 0 for none."""
    token_channels: int = 32
    """Width of the tokens and of the glimpse."""
    hidden_dim: int = 256
    first_iterations: int = 3
    """Iterations on a first frame; every other frame has one. 1 costs nothing."""
    gradient: Literal["bilevel", "full"] = "bilevel"
    set_attention: bool = False
    """Whether slots see each other in the transition."""
    maps: bool = True
    """Whether slots make a map and a glimpse; without, `bind` is all there is."""
    identity: Literal["index", "matched"] = "index"
    """What makes a slot the one of the last frame: its place, or the nearest prediction in the
    cheapest matching of all (Hungarian), which undoes swaps."""
    map_power: float = 1.0
    """p of A = Σ_s π_s M_s^p / Σ_n M_sn^p. Above 1 maps are sharper: shares of a softmax have tails,
    and over a large background these outweigh a small object."""
    gate: Literal["scalar", "state"] = "scalar"
    """Whether the fusion gate is one number or depends on the recurrent state."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.gate not in ("scalar", "state"):
            raise ConfigError(
                f"SlotFilterConfig.gate must be 'scalar' or 'state', found {self.gate!r}"
            )
        if self.identity not in ("index", "matched"):
            raise ConfigError(
                f"SlotFilterConfig.identity must be 'index' or 'matched', found {self.identity!r}"
            )
        if not 1 <= self.map_power < float("inf"):
            raise ConfigError(
                f"SlotFilterConfig.map_power must be in [1, inf), found {self.map_power}"
            )
        for name in ("first_iterations", "feature_channels", "token_channels", "hidden_dim"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(f"SlotFilterConfig.{name} must be at least 1, found {value}")
        if self.coarse_channels < 0:
            raise ConfigError(
                "SlotFilterConfig.coarse_channels must not be negative, "
                f"found {self.coarse_channels}"
            )
        if self.attention_resolution < 2:
            raise ConfigError(
                "SlotFilterConfig.attention_resolution must be at least 2, "
                f"found {self.attention_resolution}"
            )


class SlotFilter(nn.Module):
    """Carries slots from frame to frame and makes the bottom-up map."""

    def __init__(self, config: SlotFilterConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or SlotFilterConfig(), **overrides)
        side = c.attention_resolution
        self.embed = nn.Linear(c.feature_channels, c.token_channels)
        coarse = c.coarse_channels
        self.embed_coarse = nn.Linear(coarse, c.token_channels, bias=False) if coarse else None
        self.position = nn.Parameter(0.1 * torch.randn(side**2, c.token_channels))
        self.binding = SlotAttention(
            num_slots=c.num_slots,
            in_dim=c.token_channels,
            slot_dim=c.slot_dim,
            iters=c.first_iterations,
            mlp_hidden=c.slot_mlp_hidden,
            gradient=c.gradient,
        )
        self.step = SlotTransition(c.slot_dim, c.slot_mlp_hidden, c.hidden_dim, c.set_attention)
        if c.maps:
            self.score = nn.Linear(c.slot_dim, 1, bias=False)
            self.gate_bias = nn.Parameter(torch.zeros(()))
        state = c.maps and c.gate == "state"
        self.gate = nn.Linear(c.hidden_dim, 1, bias=False) if state else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def tokens(
        self,
        features: Float[Tensor, "N C h w"],
        coarse: Float[Tensor, "N C2 h2 w2"] | None = None,
    ) -> SlotTokens:
        """Prepares all frames at once, outside the loop over time.

        Args:
            features: The fine map.
            coarse: The coarser one, where ``coarse_channels`` is set.
        """
        side = self.config.attention_resolution
        flat = self.embed(resize_features(features, side, side).flatten(2).mT) + self.position
        if self.embed_coarse is not None:
            if coarse is None:
                raise ConfigError("SlotFilter.tokens needs coarse where coarse_channels is set")
            flat = flat + self.embed_coarse(resize_features(coarse, side, side).flatten(2).mT)
        k, v = self.binding.project(flat)
        return SlotTokens(k, v, flat)

    def initial_slots(self, batch_size: int) -> Float[Tensor, "B S D"]:
        """Returns the learned queries."""
        return self.binding.initial_slots(batch_size)

    def transition(
        self, slots: Float[Tensor, "B S D"], hidden: Float[Tensor, "B h"]
    ) -> Float[Tensor, "B S D"]:
        """Predicts the slots of the next frame; the action is in ``hidden`` already."""
        return self.step(slots, hidden)

    def bind(
        self,
        slots_hat: Float[Tensor, "B S D"],
        tokens: SlotTokens,
        is_first: Bool[Tensor, "B"],
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S L"]]:
        """Corrects predicted slots by one frame; returns them with their responsibilities.

        Args:
            slots_hat: What `transition` predicted; unused where ``is_first``.
            tokens: One frame's tokens, batch first.
            is_first: Where an episode begins.
        """
        c = self.config
        k, v = tokens.k, tokens.v
        queries = self.binding.initial_slots(slots_hat.shape[0])
        queries = self.binding.refine(queries, k, v, c.first_iterations - 1)
        start = torch.where(is_first[:, None, None], queries, slots_hat)
        slots, responsibilities = self.binding.iterate(start, k, v)
        if c.identity == "index":
            return slots, responsibilities
        order = match(squared_distances(slots_hat, slots))
        order = torch.where(is_first[:, None], torch.arange(c.num_slots).to(order), order)
        return reorder(slots, order), reorder(responsibilities, order)

    def correct(
        self,
        slots_hat: Float[Tensor, "B S D"],
        tokens: SlotTokens,
        is_first: Bool[Tensor, "B"],
    ) -> SlotResult:
        """Corrects predicted slots by one frame, and reads map and glimpse off them.

        Args:
            slots_hat: What `transition` predicted; unused where ``is_first``.
            tokens: One frame's tokens, batch first.
            is_first: Where an episode begins.
        """
        slots, responsibilities = self.bind(slots_hat, tokens, is_first)
        sharp = self._sharpened(responsibilities)
        share = self.score(slots).softmax(1) / (sharp.sum(-1, keepdim=True) + _FLOOR)
        attention = torch.bmm(share.mT, sharp)
        glimpse = torch.bmm(attention, tokens.glimpse_values).squeeze(1)
        side = self.config.attention_resolution
        return SlotResult(slots, responsibilities, attention.view(-1, side, side), glimpse)

    def _sharpened(self, shares: Float[Tensor, "B S L"]) -> Float[Tensor, "B S L"]:
        """Returns shares to the p-th power, each slot's over its largest: none underflows."""
        if self.config.map_power == 1:
            return shares
        return (shares / (shares.amax(-1, keepdim=True) + _FLOOR)) ** self.config.map_power

    def read(self, responsibilities: Float[Tensor, "*batch S L"]) -> SlotRead:
        """Returns maps, centres and masses of any number of frames."""
        side = self.config.attention_resolution
        grid = responsibilities.reshape(*responsibilities.shape[:-1], side, side)
        maps = normalize_mass(grid)
        return SlotRead(maps, center_of_mass(maps), responsibilities.mean(-1))

    def fuse(
        self,
        log_slots: Float[Tensor, "B R R"],
        log_predicted: Float[Tensor, "B R R"],
        hidden: Float[Tensor, "B h"] | None = None,
    ) -> Float[Tensor, "B R R"]:
        """Returns the product of the bottom-up and the predicted map.

        Args:
            log_slots: `SlotResult.log_attention`.
            log_predicted: The log of the predicted map.
            hidden: Recurrent state; needed by ``gate="state"`` only.

        Raises:
            ConfigError: the gate depends on the state and there is none.
        """
        logit = self.gate_bias
        if self.gate is not None:
            if hidden is None:
                raise ConfigError("SlotFilter.fuse needs hidden where gate='state', found None")
            logit = self.gate(hidden)[..., None] + logit
        return log_product_of_experts(log_slots, log_predicted, logit.sigmoid()).exp()


class SlotTransition(nn.Module):
    """Moves every slot by the same small residual network, modulated by the state."""

    def __init__(self, slot_dim: int, mlp_hidden: int, hidden_dim: int, attend: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(slot_dim)
        self.film = nn.Linear(hidden_dim, 2 * slot_dim)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.qkv = nn.Linear(slot_dim, 3 * slot_dim, bias=False) if attend else None
        self.mlp = nn.Sequential(
            nn.Linear(slot_dim, mlp_hidden), nn.ReLU(), nn.Linear(mlp_hidden, slot_dim)
        )

    def forward(
        self, slots: Float[Tensor, "B S D"], hidden: Float[Tensor, "B h"]
    ) -> Float[Tensor, "B S D"]:
        """Returns the predicted slots, in the same order."""
        x = self.norm(slots)
        scale, bias = self.film(hidden).unsqueeze(1).chunk(2, dim=-1)
        x = torch.addcmul(x + bias, x, scale)
        if self.qkv is not None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            x = x + nn.functional.scaled_dot_product_attention(q, k, v)
        return slots + self.mlp(x)
