"""Task queries beyond the meta-trainer: a features extractor for Stable-Baselines3, a policy over slots.

features = [LN attention(learned queries + W state, tokens); state]
"""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.layers.query_attention import Attended, TaskQueryAttention
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.policies.tokens import SlotTokenizer, StateTokenizer, tokenizer_for


class TaskQueryExtractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """Reads nodes of a law, slots, or parts of a state by queries; what is no token asks.

    For MaskablePPO on ``AIME/SymbolicDiscovery-v0``, PPO or SAC on beliefs with slots, and any
    vector of numbers: ``policy_kwargs={"features_extractor_class": TaskQueryExtractor}``.

    Args:
        observation_space: What the environment shows.
        features_dim: Width of the features, even.
        num_heads: Heads; must divide half of it.
        num_queries: Learned queries.

    Raises:
        ConfigError: the observations cannot be cut into tokens, or the sizes do not fit.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        features_dim: int = 128,
        num_heads: int = 4,
        num_queries: int = 2,
    ) -> None:
        super().__init__(observation_space, features_dim)
        if features_dim % 2:
            raise ConfigError(f"TaskQueryExtractor.features_dim must be even, found {features_dim}")
        dim = features_dim // 2
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
        self.keys = tuple(parts)
        self.tokenizer = tokenizer_for(observation_space, dim)
        self.queries = nn.Parameter(0.1 * torch.randn(num_queries, dim))
        self.ask = nn.Linear(dim, dim)
        self.attention = TaskQueryAttention(dim, num_heads)
        self.read = nn.Linear(num_queries * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Float[Tensor, "N F"]:
        """Returns the features."""
        state, attended = self._attend(observations)
        read = self.norm(self.read(attended.features.flatten(1)))
        return torch.cat([read, state], dim=-1)

    @torch.no_grad()
    def attention_weights(self, observations: Tensor | dict[str, Tensor]) -> Float[Tensor, "N T"]:
        """Returns where each observation is looked at, as the mean over heads and queries."""
        return self._attend(observations)[1].weights.mean(dim=(1, 2))

    def _attend(
        self, observations: Tensor | dict[str, Tensor]
    ) -> tuple[Float[Tensor, "N D"], Attended]:
        if isinstance(observations, dict):
            flat = torch.cat([observations[key].flatten(1).float() for key in self.keys], dim=1)
        else:
            flat = observations.float()
        seen = self.tokenizer(flat)
        queries = self.ask(seen.state)[:, None] + self.queries
        return seen.state, self.attention(queries, seen.tokens, seen.mask)


class SlotMetaPolicy(EnhancedMetaLearningPolicy):
    """Meta-policy with Gaussian actions over AIME's slots, or over the parts of a state.

    Args:
        observation_space: A dictionary of belief, slots and masses (``BeliefObservation(...,
            observation="objects")``), a dictionary of state parts, or a vector.
        action_space: Box.
        hidden_dim: H.
        num_attention_heads: Heads; must divide H.
        **settings: Others of `EnhancedMetaLearningPolicy`.

    Raises:
        ConfigError: the spaces are others.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        hidden_dim: int = 64,
        num_attention_heads: int = 4,
        **settings: Any,
    ) -> None:
        tokenizer = tokenizer_for(observation_space, hidden_dim)
        known = isinstance(tokenizer, SlotTokenizer | StateTokenizer)
        if not (known and isinstance(action_space, spaces.Box)):
            raise ConfigError(
                "SlotMetaPolicy needs slots or a state, and a Box of actions, found "
                f"{observation_space} and {action_space}"
            )
        super().__init__(
            tokenizer.observation_dim,
            spaces.flatdim(action_space),
            hidden_dim,
            num_attention_heads,
            tokenizer=tokenizer,
            continuous=True,
            **settings,
        )
