"""Top-down attention: where the model expects to look next (seed 000).

    x        log(1 + R² A_{t-1})                                       mean-one map, compressed
    memory   ConvGRU(x, memory)                                        carried by the caller
    f        SiLU(FiLM_{h,z[,goal]}(W [memory, kernels * x] + position))   per cell
    f        f + self-attention with relative position bias, + MLP     optional
    log A^   log-softmax(p log A_{t-1} + w·f)                          p learned, 1 at the start
    F(n)     d_max tanh(V f(n))                                        movement field, in cells
    shift    Σ_n A_{t-1}(n) F(n)                                       read under the attention

Action and the last latent are in h already. The seeds' cross-attention to copies of one vector
is a constant shift; FiLM (Perez et al., 2018) takes its place. The pooled grid r <= R holds
everything but log A_{t-1}, whose detail survives at full resolution.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aime_agent.attention.grid_attention import GridAttentionBlock
from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import normalize_mass, resize_features
from aime_agent.layers.conv_gru import ConvGRUCell
from aime_agent.shapes import validate_shape

_UNIFORM_SHARE = 0.01


class PriorOutput(NamedTuple):
    """A predicted map and how it came about; r is the pooled side."""

    log_probs: Float[Tensor, "B R R"]
    shift: Float[Tensor, "B 2"]
    """Predicted shift (x, y) of the centre of attention, in cells of the R x R grid."""
    movement: Float[Tensor, "B 2 r r"]
    """Movement field (dx, dy) in cells of the R x R grid."""
    memory: Float[Tensor, "B C r r"]
    """State for the next step."""
    motion: Float[Tensor, "B M r r"]
    """Responses of the motion kernels."""
    logits: Float[Tensor, "B R R"]


class AttentionPriorInfo(TypedDict):
    """What seed 000 calls ``info``."""

    spatial_features: Tensor
    motion_features: Tensor
    predicted_movement: tuple[Tensor, Tensor]
    predicted_shift: Tensor
    attention_logits: Tensor
    state: Tensor


@dataclass(frozen=True, kw_only=True)
class AttentionPriorConfig:
    """Settings of `AttentionPrior`; names and defaults are those of seed 000."""

    attention_resolution: int = 21
    hidden_dim: int = 256
    latent_dim: int = 32
    motion_kernels: int = 8
    """Kernels on the last map; 0 leaves motion to the ConvGRU, which sees the same map."""
    num_heads: int = 4
    """Heads of the self-attention; as the next two, without effect where that is off."""
    feature_dim: int = 64
    use_relative_position_bias: bool = True
    use_checkpoint: bool = True
    """Recompute the self-attention in the backward pass of training mode, to save memory."""
    dropout: float = 0.1
    convgru_hidden_size: int = 32
    convgru_kernel_size: int = 5
    """Side of the ConvGRU's and of the motion kernels."""
    self_attention: bool = True
    pooled_resolution: int | None = None
    """Compute on a grid of this side; None is ``attention_resolution``."""
    group_norm: bool = True
    """Group normalisation in the ConvGRU."""
    max_movement: float = 4.0
    """Largest movement in cells."""
    goal_dim: int = 0
    """Width of a goal that modulates the features beside h and z; 0 for none."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.attention_resolution < 2:
            raise ConfigError(
                "AttentionPriorConfig.attention_resolution must be at least 2, "
                f"found {self.attention_resolution}"
            )
        if not 1 <= self.grid <= self.attention_resolution:
            raise ConfigError(
                "AttentionPriorConfig.pooled_resolution must be between 1 and "
                f"attention_resolution, found {self.pooled_resolution}"
            )
        if self.feature_dim % self.num_heads:
            raise ConfigError(
                "AttentionPriorConfig.feature_dim must be a multiple of num_heads, "
                f"found {self.feature_dim} and {self.num_heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"AttentionPriorConfig.dropout must be in [0, 1), found {self.dropout}"
            )
        if self.max_movement <= 0:
            raise ConfigError(
                f"AttentionPriorConfig.max_movement must be positive, found {self.max_movement}"
            )
        for name in ("motion_kernels", "goal_dim"):
            if getattr(self, name) < 0:
                value = getattr(self, name)
                raise ConfigError(
                    f"AttentionPriorConfig.{name} must not be negative, found {value}"
                )

    @property
    def grid(self) -> int:
        """The side r of the grid on which features are computed."""
        return self.pooled_resolution or self.attention_resolution

    @classmethod
    def compact(
        cls, hidden_dim: int, latent_dim: int, attention_resolution: int = 16
    ) -> "AttentionPriorConfig":
        """Returns the small prior of a world model on a CPU: half the side, no self-attention."""
        return cls(
            hidden_dim=hidden_dim,
            latent_dim=latent_dim,
            attention_resolution=attention_resolution,
            pooled_resolution=max(attention_resolution // 2, 1),
            motion_kernels=0,
            feature_dim=8,
            convgru_hidden_size=8,
            convgru_kernel_size=3,
            self_attention=False,
            group_norm=False,
            use_checkpoint=False,
            dropout=0.0,
        )


class AttentionPrior(nn.Module):
    """Predicts the next attention map from the last one, the state and the latent."""

    pool: Tensor
    spread: Tensor

    def __init__(self, config: AttentionPriorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or AttentionPriorConfig(), **overrides)
        kernel, width = c.convgru_kernel_size, c.feature_dim
        self.conv_gru = ConvGRUCell(1, c.convgru_hidden_size, kernel, group_norm=c.group_norm)
        self.motion = (
            nn.Conv2d(1, c.motion_kernels, kernel, padding=kernel // 2)
            if c.motion_kernels
            else None
        )
        self.combine = nn.Linear(c.convgru_hidden_size + c.motion_kernels, width)
        self.position = nn.Parameter(0.02 * torch.randn(c.grid**2, width))
        self.film = nn.Linear(c.hidden_dim + c.latent_dim + c.goal_dim, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.dropout = nn.Dropout(c.dropout) if c.dropout else nn.Identity()
        self.block = (
            GridAttentionBlock(width, c.grid, c.num_heads, c.use_relative_position_bias, c.dropout)
            if c.self_attention
            else None
        )
        self.head = nn.Linear(width, 3)
        # Starts at no movement: random weights predict many times what a map moves.
        self.head.weight.data[1:].zero_()
        self.head.bias.data[1:].zero_()
        self.persistence = nn.Parameter(torch.ones(()))
        self.register_buffer("pool", pooling_matrix(c.attention_resolution, c.grid), False)
        self.register_buffer("spread", spreading_matrix(c.grid, c.attention_resolution), False)

    def initial_memory(self, batch_size: int) -> Float[Tensor, "B C r r"]:
        """Returns the memory before the first map: zeros."""
        c = self.config
        return self.position.new_zeros(batch_size, c.convgru_hidden_size, c.grid, c.grid)

    def initial_attention(self, batch_size: int) -> Float[Tensor, "B R R"]:
        """Returns the map before the first frame: uniform."""
        side = self.config.attention_resolution
        return self.position.new_full((batch_size, side, side), 1 / side**2)

    def predict(
        self,
        prev_attention: Float[Tensor, "B R R"],
        memory: Float[Tensor, "B C r r"],
        hidden: Float[Tensor, "B h"],
        latent: Float[Tensor, "B z"],
        goal: Float[Tensor, "B g"] | None = None,
    ) -> PriorOutput:
        """Runs one step on a normalised map; no checks, as loops call it.

        Args:
            prev_attention: A_{t-1}.
            memory: State of the ConvGRU.
            hidden: h_t.
            latent: z_t.
            goal: Embedding of a goal, where ``goal_dim`` is set.
        """
        c = self.config
        cells, pooled_cells = c.attention_resolution**2, c.grid**2
        flat = prev_attention.flatten(1)
        pooled = flat if cells == pooled_cells else flat @ self.pool
        x = torch.log1p(pooled * pooled_cells).view(-1, 1, c.grid, c.grid)
        memory = self.conv_gru(x, memory)
        motion = x[:, :0] if self.motion is None else self.motion(x)
        state = [hidden, latent] if goal is None else [hidden, latent, goal]
        head = self.head(self._features(memory, motion, torch.cat(state, dim=-1)))
        change, field = head[..., 0], c.max_movement * head[..., 1:].tanh()
        if cells != pooled_cells:
            change = change @ self.spread
        log_prev = torch.log(flat + _UNIFORM_SHARE / cells)
        logits = torch.addcmul(change, self.persistence, log_prev)
        return PriorOutput(
            log_probs=logits.log_softmax(-1).view_as(prev_attention),
            shift=torch.bmm(pooled.unsqueeze(1), field).squeeze(1),
            movement=field.mT.reshape(-1, 2, c.grid, c.grid),
            memory=memory,
            motion=motion,
            logits=logits.view_as(prev_attention),
        )

    def forward(
        self,
        prev_attention: Float[Tensor, "..."],
        hidden_state: Float[Tensor, "..."],
        latent_state: Float[Tensor, "..."],
        state: Float[Tensor, "..."] | None = None,
        goal: Float[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B R R"], AttentionPriorInfo]:
        """Returns the predicted map and ``info``.

        Args:
            prev_attention: Any finite map ``[B, R, R]``; negative entries count as zero.
            hidden_state: Recurrent state ``[B, hidden_dim]``.
            latent_state: Latent ``[B, latent_dim]``.
            state: ``info["state"]`` of the last call; None starts anew.
            goal: Embedding of a goal ``[B, goal_dim]``; None is the goal 0.
        """
        c = self.config
        batch, side = prev_attention.shape[0], c.attention_resolution
        validate_shape(prev_attention, (-1, side, side), "prev_attention")
        validate_shape(hidden_state, (batch, c.hidden_dim), "hidden_state")
        validate_shape(latent_state, (batch, c.latent_dim), "latent_state")
        memory = self.initial_memory(batch) if state is None else state
        validate_shape(memory, (batch, c.convgru_hidden_size, c.grid, c.grid), "state")
        if goal is None:
            goal = hidden_state.new_zeros(batch, c.goal_dim)
        validate_shape(goal, (batch, c.goal_dim), "goal")
        prev = normalize_mass(prev_attention)
        out = self.predict(prev, memory, hidden_state, latent_state, goal)
        dx, dy = resize_features(out.movement, side, side).unbind(1)
        return out.log_probs.exp(), AttentionPriorInfo(
            spatial_features=out.memory,
            motion_features=out.motion,
            predicted_movement=(dx, dy),
            predicted_shift=out.shift,
            attention_logits=out.logits,
            state=out.memory,
        )

    def _features(self, memory: Tensor, motion: Tensor, state: Tensor) -> Tensor:
        c = self.config
        scale, bias = self.film(state).unsqueeze(1).chunk(2, dim=-1)
        seen = memory if self.motion is None else torch.cat([memory, motion], dim=1)
        mixed = self.combine(seen.flatten(2).mT) + self.position
        features = self.dropout(F.silu(torch.addcmul(mixed + bias, mixed, scale)))
        if self.block is None:
            return features
        if c.use_checkpoint and self.training:
            return checkpoint(self.block, features, use_reentrant=False)
        return self.block(features)


def pooling_matrix(side: int, grid: int) -> Float[Tensor, "{side}**2 {grid}**2"]:
    """Returns the matrix that pools a flat map onto a coarser grid and keeps its mass.

    A product with it costs a fraction of a pooling call on maps this small.
    """
    cells = torch.eye(side**2).view(-1, 1, side, side)
    pooled = F.adaptive_avg_pool2d(cells, grid).flatten(1)
    return pooled / pooled.sum(1, keepdim=True)


def spreading_matrix(grid: int, side: int) -> Float[Tensor, "{grid}**2 {side}**2"]:
    """Returns the matrix of bilinear interpolation from a flat grid to a finer one."""
    cells = torch.eye(grid**2).view(-1, 1, grid, grid)
    return F.interpolate(cells, (side, side), mode="bilinear", align_corners=False).flatten(1)
