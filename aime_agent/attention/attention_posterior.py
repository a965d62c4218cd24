"""Bottom-up attention: from a frame, the state and the context to a map (seed 000).

    features   FPN(o) + row and column embeddings                       [B, F, R, R]
    slots, M   slot attention, started from queries + MLP([h; context])
    p_s        M_s normalised by its mass over space
    A          fusion of the p_s, see `fusion`
    coords     CoM(A) + 0.1 tanh(set network of slots, centres, masses), clamped to [-1, 1]

The set network pools over slots with the fusion weights, so the order of slots does not matter.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aime_agent.attention.fusion import FusionMode, SlotScore, check_fusion_mode, fuse_slot_maps
from aime_agent.attention.slot_attention import SlotAttention
from aime_agent.attention.visualize import visualize_slots
from aime_agent.configs import override
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.regularizers import slot_diversity
from aime_agent.functional.spatial import center_of_mass, normalize_mass, resize_features
from aime_agent.layers.fpn import FeaturePyramid
from aime_agent.recording import KeepsLast
from aime_agent.shapes import validate_shape

_COORD_CORRECTION = 0.1
_SEED_SCALE = 0.1


class PosteriorOutput(NamedTuple):
    """Everything that `AttentionPosterior` infers from one frame."""

    attention_probs: Float[Tensor, "B R R"]
    """The fused map A; sums to 1."""
    coords: Float[Tensor, "B 2"]
    """(x, y) in [-1, 1]: the centre of A, slightly corrected."""
    slot_attention_maps: Float[Tensor, "B S R R"]
    """Maps p_s; each sums to 1 over space."""
    slot_centers: Float[Tensor, "B S 2"]
    slot_features: Float[Tensor, "B S F"]
    slot_mass: Float[Tensor, "B S"]
    """The share of the frame that each slot explains; sums to 1 over slots."""
    group_assignments: Float[Tensor, "B R R S"]
    """Responsibilities; sum to 1 over slots."""
    fusion_weights: Float[Tensor, "B S"]
    bottleneck_features: Float[Tensor, "B hidden//2"]
    diversity_loss: Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class AttentionPosteriorConfig:
    """Settings of `AttentionPosterior`; names and defaults are those of seed 000."""

    image_size: int = 84
    attention_resolution: int = 21
    hidden_dim: int = 256
    context_dim: int = 128
    input_channels: int = 3
    feature_channels: int = 64
    num_semantic_slots: int = 4
    num_heads: int = 4
    """Heads of slot attention."""
    attention_fusion_mode: FusionMode = "weighted"
    enforce_diversity: bool = True
    """Whether ``diversity_loss`` is computed; else it is zero."""
    device: str | torch.device | None = None
    """Where parameters are created; inputs decide afterwards."""
    expected_fused: bool = False
    """Whether features always come from outside (``fused_feat``); then no pyramid is built."""
    use_checkpoint: bool = True
    """Recompute the pyramid in the backward pass of training mode, to save memory."""
    dropout_p: float = 0.2
    coord_noise_std: float = 0.0
    """Noise on ``coords`` in training mode."""
    slot_iters: int = 3
    slot_mlp_hidden: int = 128

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_fusion_mode(
            self.attention_fusion_mode, "AttentionPosteriorConfig.attention_fusion_mode"
        )
        if self.attention_resolution < 2:
            raise ConfigError(
                "AttentionPosteriorConfig.attention_resolution must be at least 2, "
                f"found {self.attention_resolution}"
            )
        if not 0 <= self.dropout_p < 1:
            raise ConfigError(
                f"AttentionPosteriorConfig.dropout_p must be in [0, 1), found {self.dropout_p}"
            )
        if self.coord_noise_std < 0:
            raise ConfigError(
                "AttentionPosteriorConfig.coord_noise_std must not be negative, "
                f"found {self.coord_noise_std}"
            )
        if self.feature_channels < 2 or self.hidden_dim < 2:
            raise ConfigError(
                "AttentionPosteriorConfig.feature_channels and hidden_dim must be at least 2, "
                f"found {self.feature_channels} and {self.hidden_dim}"
            )


class AttentionPosterior(KeepsLast):
    """Infers where the frame draws attention, slot by slot."""

    _keeps_graph = ("diversity_loss",)

    def __init__(self, config: AttentionPosteriorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or AttentionPosteriorConfig(), **overrides)
        side, width, slots = c.attention_resolution, c.feature_channels, c.num_semantic_slots
        self.pyramid = None if c.expected_fused else FeaturePyramid(c.input_channels, width, side)
        self.row_embedding = nn.Parameter(0.02 * torch.randn(side, width - width // 2))
        self.column_embedding = nn.Parameter(0.02 * torch.randn(side, width // 2))
        self.seeds = nn.Sequential(
            nn.Linear(c.hidden_dim + c.context_dim, c.hidden_dim),
            nn.SiLU(),
            nn.Linear(c.hidden_dim, slots * width),
        )
        self.slot_attention = SlotAttention(
            num_slots=slots,
            in_dim=width,
            slot_dim=width,
            iters=c.slot_iters,
            mlp_hidden=c.slot_mlp_hidden,
            num_heads=c.num_heads,
        )
        self.dropout = nn.Dropout(c.dropout_p)
        self.score = SlotScore(width, c.hidden_dim + c.context_dim, width)
        self.element = nn.Linear(width + 3, c.hidden_dim // 2)
        self.bottleneck = nn.Linear(c.hidden_dim // 2, c.hidden_dim // 2)
        self.correction = nn.Linear(c.hidden_dim // 2, 2)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        if c.device is not None:
            self.to(c.device)

    def infer(
        self,
        observation: Float[Tensor, "..."],
        hidden_state: Float[Tensor, "..."],
        context: Float[Tensor, "..."],
        fused_feat: Float[Tensor, "..."] | None = None,
        coord_noise: Float[Tensor, "..."] | None = None,
    ) -> PosteriorOutput:
        """Returns the map and all that it was made of.

        Args:
            observation: Frames ``[B, C, image_size, image_size]``.
            hidden_state: Recurrent state ``[B, hidden_dim]``.
            context: Perceiver context ``[B, context_dim]``.
            fused_feat: Features ``[B, feature_channels, any, any]`` instead of the pyramid's.
            coord_noise: Standard normal noise ``[B, 2]`` for ``coords``, scaled by
                ``coord_noise_std``.
        """
        c = self.config
        self._check(observation, hidden_state, context, fused_feat)
        top_down = torch.cat([hidden_state, context], dim=-1)
        tokens = self._tokens(observation, fused_feat)
        slots, attn = self.slot_attention(tokens, self._seeds(top_down))
        groups = attn.unflatten(-1, (c.attention_resolution, c.attention_resolution))
        maps = normalize_mass(groups)
        mass, centers = groups.mean((-2, -1)), center_of_mass(maps)
        features = self.dropout(slots)
        attention, weights = fuse_slot_maps(
            maps, self.score(features, top_down), c.attention_fusion_mode
        )
        elements = self.element(torch.cat([features, centers, mass[..., None]], dim=-1))
        pooled = torch.einsum("bs,bsd->bd", weights, nn.functional.silu(elements))
        coords = center_of_mass(attention) + _COORD_CORRECTION * self.correction(pooled).tanh()
        if coord_noise is not None:
            coords = coords + c.coord_noise_std * coord_noise
        return PosteriorOutput(
            attention_probs=attention,
            coords=coords.clamp(-1, 1),
            slot_attention_maps=maps,
            slot_centers=centers,
            slot_features=slots,
            slot_mass=mass,
            group_assignments=groups.movedim(1, -1),
            fusion_weights=weights,
            bottleneck_features=self.bottleneck(pooled),
            diversity_loss=self._diversity(maps),
        )

    def forward(
        self,
        observation: Float[Tensor, "..."],
        hidden_state: Float[Tensor, "..."],
        context: Float[Tensor, "..."],
        fused_feat: Float[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B R R"], Float[Tensor, "B 2"]]:
        """Returns ``(attention_probs, coords)``; the rest of `infer` is served as attributes."""
        noisy = self.training and self.config.coord_noise_std > 0
        noise = torch.randn_like(hidden_state[:, :2]) if noisy else None
        self._last = out = self.infer(observation, hidden_state, context, fused_feat, noise)
        return out.attention_probs, out.coords

    def visualize_multi_object_attention(
        self,
        observation: Float[Tensor, "B C H W"],
        slot_attention_maps: Float[Tensor, "B S R R"],
        slot_centers: Float[Tensor, "B S 2"],
        group_assignments: Float[Tensor, "B R R S"] | None = None,
        return_mode: Literal["all", "combined", "slots", "groups"] = "all",
    ) -> dict[str, Tensor]:
        """Draws slots over frames; see `visualize.visualize_slots`."""
        return visualize_slots(
            observation, slot_attention_maps, slot_centers, group_assignments, return_mode
        )

    def _tokens(self, observation: Tensor, fused_feat: Any) -> Tensor:
        c = self.config
        side = c.attention_resolution
        if fused_feat is not None or self.pyramid is None:
            features = resize_features(fused_feat, side, side)
        elif c.use_checkpoint and self.training:
            features = checkpoint(self.pyramid, observation, use_reentrant=False)
        else:
            features = self.pyramid(observation)
        rows = self.row_embedding[:, None].expand(-1, side, -1)
        columns = self.column_embedding[None].expand(side, -1, -1)
        position = torch.cat([rows, columns], dim=-1).flatten(0, 1)
        return features.flatten(2).mT + position

    def _seeds(self, top_down: Tensor) -> Tensor:
        queries = self.slot_attention.initial_slots(top_down.shape[0])
        return queries + _SEED_SCALE * self.seeds(top_down).view_as(queries)

    def _diversity(self, maps: Tensor) -> Tensor:
        return slot_diversity(maps).mean() if self.config.enforce_diversity else maps.new_zeros(())

    def _check(self, observation: Tensor, hidden: Tensor, context: Tensor, fused: Any) -> None:
        c = self.config
        batch = observation.shape[0]
        remedy = "Resize frames, or set image_size and input_channels"
        sizes = (-1, c.input_channels, c.image_size, c.image_size)
        validate_shape(observation, sizes, "observation", remedy)
        validate_shape(hidden, (batch, c.hidden_dim), "hidden_state")
        validate_shape(context, (batch, c.context_dim), "context")
        if fused is not None:
            validate_shape(fused, (batch, c.feature_channels, -1, -1), "fused_feat")
        elif c.expected_fused:
            raise ShapeError("fused_feat: required because expected_fused=True, found None")
