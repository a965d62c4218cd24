"""PerceiverTokenPredictor: which tokens the next frame will have.

    e = MLP([context_t, a_t]),    x_n = SiLU(p_n ⊙ (1 + scale(e)) + shift(e)),
    p(id_{t+1,n} | context_t, a_t) = softmax(W x_n)

Every grid cell n asks with its position p_n, modulated by context and action (FiLM, Perez et al.,
2018). All cells are predicted at once. The ids are targets and carry no gradient.

Shapes: N frames, h, w grid, Q quantisers (an axis only if Q > 1), K codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.layers.positional import GridEmbedding
from aime_agent.perception.checks import as_pair, require_positive
from aime_agent.shapes import validate_shape


@dataclass(frozen=True, kw_only=True)
class PerceiverTokenPredictorConfig:
    """Settings of `PerceiverTokenPredictor`."""

    context_dim: int = 256
    """Width of the context."""
    action_dim: int = 6
    """Width of the action."""
    num_codes: int = 1024
    """Codes per quantiser."""
    num_quantizers: int = 1
    """Ids per grid cell."""
    grid_size: int | Sequence[int] = (8, 8)
    """Rows and columns of the token grid."""
    query_dim: int = 64
    """Width of a cell's query."""
    hidden_dim: int = 128
    """Hidden width of the map from context and action to the modulation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid_size", as_pair(self.grid_size))
        require_positive(self, "context_dim", "action_dim", "num_codes", "num_quantizers")
        require_positive(self, "query_dim", "hidden_dim")


class PerceiverTokenPredictor(nn.Module):
    """Predicts the token ids of the next frame; see the module's docstring.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `PerceiverTokenPredictorConfig`.
    """

    def __init__(
        self, config: PerceiverTokenPredictorConfig | None = None, **overrides: Any
    ) -> None:
        super().__init__()
        self.config = c = override(config or PerceiverTokenPredictorConfig(), **overrides)
        self.grid = as_pair(c.grid_size)
        self.ids_per_cell = () if c.num_quantizers == 1 else (c.num_quantizers,)
        self.positions = GridEmbedding(self.grid, c.query_dim)
        self.modulation = nn.Sequential(
            nn.Linear(c.context_dim + c.action_dim, c.hidden_dim),
            nn.SiLU(),
            nn.Linear(c.hidden_dim, 2 * c.query_dim),
        )
        self.to_logits = nn.Linear(c.query_dim, c.num_quantizers * c.num_codes)

    def forward(
        self, context: Float[Tensor, "N F"], action: Float[Tensor, "N A"]
    ) -> Float[Tensor, "N h w *Q K"]:
        """Returns logits over the codes of every cell of the next frame; same as `logits`."""
        return self.logits(context, action)

    def logits(
        self, context: Float[Tensor, "N F"], action: Float[Tensor, "N A"]
    ) -> Float[Tensor, "N h w *Q K"]:
        """Returns logits over the codes of every cell of the next frame.

        Args:
            context: Context at t.
            action: The action chosen after the frame at t.
        """
        c = self.config
        validate_shape(context, (-1, c.context_dim), "context", "Flatten batch and time first")
        validate_shape(action, (-1, c.action_dim), "action", "Set action_dim to the space's size")
        scale, shift = self.modulation(torch.cat([context, action], -1)).unsqueeze(1).chunk(2, -1)
        queries = F.silu(torch.addcmul(shift, self.positions(), 1.0 + scale))
        return self.to_logits(queries).view(-1, *self.grid, *self.ids_per_cell, c.num_codes)

    def loss(
        self,
        context: Float[Tensor, "N F"],
        action: Float[Tensor, "N A"],
        next_ids: Int[Tensor, "N h w *Q"],
    ) -> Float[Tensor, "N"]:
        """Returns the mean cross-entropy per token in nats, for every frame.

        Args:
            context: Context at t.
            action: The action chosen after the frame at t.
            next_ids: Token ids of the frame at t + 1.
        """
        expected = (context.shape[0], *self.grid, *self.ids_per_cell)
        validate_shape(next_ids, expected, "next_ids", "Pass ids as the tokenizer returns them")
        logits = self.logits(context, action).flatten(0, -2)
        nats = F.cross_entropy(logits, next_ids.flatten(), reduction="none")
        return nats.view(context.shape[0], -1).mean(-1)
