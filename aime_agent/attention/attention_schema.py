"""Attention as a state that is inferred and predicted (Graziano & Kastner, 2011; seed 000).

`posterior_net` infers the map of a frame (bottom-up), `prior_net` predicts the next one
(top-down), and the dynamics loss compares predicted with actual movement, in grid cells:

    Σ_{x,y} Huber₁(Σ_n A_t(n) F_t(n) - sg(CoM(A_{t+1}) - CoM(A_t)))

The seeds average a predicted field over space; a field is read under the attention mass here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.attention.attention_posterior import AttentionPosterior, AttentionPosteriorConfig
from aime_agent.attention.attention_prior import AttentionPrior, AttentionPriorConfig
from aime_agent.configs import override
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.regularizers import map_movement, movement_huber
from aime_agent.functional.spatial import normalize_mass, read_under

Movement = Tensor | tuple[Tensor, Tensor]
Stream = TypeVar("Stream", AttentionPosteriorConfig, AttentionPriorConfig)


@dataclass(frozen=True, kw_only=True)
class AttentionSchemaConfig:
    """Settings of `AttentionSchema`: sizes that both streams share, and the rest of each."""

    image_size: int = 84
    attention_resolution: int = 21
    hidden_dim: int = 256
    latent_dim: int = 32
    context_dim: int = 128
    attention_dim: int = 64
    """Feature size of both streams."""
    input_channels: int = 3
    device: str | torch.device | None = None
    """Where parameters are created; inputs decide afterwards."""
    posterior: AttentionPosteriorConfig = field(default_factory=AttentionPosteriorConfig)
    """Settings of the posterior that are not named above."""
    prior: AttentionPriorConfig = field(default_factory=AttentionPriorConfig)
    """Settings of the prior that are not named above."""

    def posterior_config(self) -> AttentionPosteriorConfig:
        """Returns the posterior's settings with the shared sizes filled in."""
        return _fill(
            self.posterior,
            image_size=self.image_size,
            attention_resolution=self.attention_resolution,
            hidden_dim=self.hidden_dim,
            context_dim=self.context_dim,
            feature_channels=self.attention_dim,
            input_channels=self.input_channels,
        )

    def prior_config(self) -> AttentionPriorConfig:
        """Returns the prior's settings with the shared sizes filled in."""
        return _fill(
            self.prior,
            attention_resolution=self.attention_resolution,
            hidden_dim=self.hidden_dim,
            latent_dim=self.latent_dim,
            feature_dim=self.attention_dim,
        )


class AttentionSchema(nn.Module):
    """Both streams of attention and the loss on their dynamics."""

    def __init__(self, config: AttentionSchemaConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or AttentionSchemaConfig(), **overrides)
        self.posterior_net = AttentionPosterior(c.posterior_config())
        self.prior_net = AttentionPrior(c.prior_config())
        if c.device is not None:
            self.to(c.device)

    def forward(
        self,
        observation: Float[Tensor, "..."],
        hidden_state: Float[Tensor, "..."],
        context: Float[Tensor, "..."],
        fused_feat: Float[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B R R"], Float[Tensor, "B 2"]]:
        """Returns the inferred map and its centre, as `posterior_net` does."""
        return self.posterior_net(observation, hidden_state, context, fused_feat)

    def compute_attention_dynamics_loss(
        self,
        attention_sequence: Sequence[Tensor] | Tensor,
        predicted_movements: Sequence[Movement] | Tensor,
    ) -> Float[Tensor, ""]:
        """Returns how far predicted movements are from actual ones; 0 for fewer than two maps.

        Args:
            attention_sequence: T maps ``[B, R, R]``, time first; any finite values.
            predicted_movements: T-1 predictions in cells, each ``[B, 2]``, a field
                ``[B, 2, R, R]``, or ``(dx, dy)`` with fields ``[B, R, R]`` or vectors ``[B]``;
                also one tensor of them, time first.
        """
        if len(attention_sequence) < 2:
            return next(self.parameters()).new_zeros(())
        maps = normalize_mass(torch.stack(list(attention_sequence), dim=1))
        if len(predicted_movements) != maps.shape[1] - 1:
            raise ShapeError(
                f"predicted_movements: {maps.shape[1] - 1} required for {maps.shape[1]} maps, "
                f"found {len(predicted_movements)}"
            )
        steps = zip(predicted_movements, maps.unbind(1), strict=False)
        shifts = torch.stack([_shift(movement, prev) for movement, prev in steps], dim=1)
        return movement_huber(shifts, map_movement(maps)).mean()


def _shift(movement: Movement, prev_map: Tensor) -> Tensor:
    """Brings one prediction to ``[B, 2]``."""
    vector = movement if isinstance(movement, Tensor) else torch.stack(movement, dim=1)
    if vector.dim() == 4 and vector.shape[-2:] == prev_map.shape[-2:]:
        return read_under(vector, prev_map)
    if vector.dim() == 2 and vector.shape[-1] == 2:
        return vector
    raise ShapeError(
        "predicted_movements: each must be [B, 2], [B, 2, R, R] or a pair of [B, R, R], "
        f"found {list(vector.shape)} for maps {list(prev_map.shape)}"
    )


def _fill(config: Stream, **shared: Any) -> Stream:
    """Sets shared sizes in a nested config; a nested value that contradicts them raises."""
    default = type(config)()
    for name, value in shared.items():
        found = getattr(config, name)
        if found not in (value, getattr(default, name)):
            raise ConfigError(
                f"{type(config).__name__}.{name} must be set on AttentionSchemaConfig "
                f"(where it is {value}), found {found}"
            )
    return override(config, **shared)
