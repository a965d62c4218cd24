"""Features of beliefs and slots for Stable-Baselines3, on what `aime_agent.envs.beliefs` shows.

    belief       b = SiLU(LN(W [h, z]))
    slots        token_k = W [slot_k; centre_k; mass_k];  one pre-norm self-attention block over
                 tokens and a learned output token; u = LN(output token)
    features     [b; u]

The order of the slots cannot be read from u. (Slots that start from learned queries are not
exchangeable: an index may come to mean something. Policies should not rely on it, and cannot.)
"""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.layers.transformer import SelfAttentionBlock

Observations = Tensor | dict[str, Tensor]


class BeliefExtractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """Reads ``[h, z]``, alone or under ``belief``; the rest of a dictionary is not looked at.

    Args:
        observation_space: What an environment of beliefs shows.
        features_dim: Width of the features.

    Raises:
        ConfigError: there is no belief in it.
    """

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        size = _size(observation_space, "belief", type(self).__name__)
        self.net = nn.Sequential(
            nn.Linear(size, features_dim), nn.LayerNorm(features_dim), nn.SiLU()
        )

    def forward(self, observations: Observations) -> Float[Tensor, "N F"]:
        """Returns the features."""
        belief = observations if isinstance(observations, Tensor) else observations["belief"]
        return self.net(belief)


class SlotPool(nn.Module):
    """A set of tokens as one vector that does not depend on their order.

    Args:
        token_dim: Width of a token.
        units: Width of the block and of the result.
        num_heads: Heads; must divide ``units``.
    """

    def __init__(self, token_dim: int, units: int = 64, num_heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(token_dim, units)
        self.output = nn.Parameter(0.1 * torch.randn(units))
        self.block = SelfAttentionBlock(units, num_heads, widening_factor=2)
        self.norm = nn.LayerNorm(units)

    def forward(self, tokens: Float[Tensor, "N S E"]) -> Float[Tensor, "N U"]:
        """Returns what the output token has read from all tokens."""
        output = self.output.expand(len(tokens), 1, -1)
        return self.norm(self.block(torch.cat([output, self.embed(tokens)], dim=1))[:, 0])


class SlotExtractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """Reads ``[h, z]`` and, beside it, the set of slots, with centre and mass where they are shown.

    Args:
        observation_space: A dictionary with ``belief`` and ``slots`` (``observation="slots"``), or also
            ``centers`` and ``mass`` (``observation="objects"``).
        features_dim: Width of the belief's features.
        slot_units: Width of the pooled slots; the features have both.
        num_slots: S; needed where no ``mass`` tells it.

    Raises:
        ConfigError: the space has no slots, or S is missing or does not divide them.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        features_dim: int = 256,
        slot_units: int = 64,
        num_slots: int | None = None,
    ) -> None:
        super().__init__(observation_space, features_dim + slot_units)
        self.num_slots = count_slots(observation_space, num_slots)
        self.belief = BeliefExtractor(observation_space, features_dim)
        self.pool = SlotPool(token_size(observation_space, self.num_slots), slot_units)

    def forward(self, observations: dict[str, Tensor]) -> Float[Tensor, "N F"]:
        """Returns the features."""
        tokens = slot_tokens(observations, self.num_slots)
        return torch.cat([self.belief(observations), self.pool(tokens)], dim=-1)


def slot_tokens(observations: dict[str, Tensor], num_slots: int) -> Float[Tensor, "N S E"]:
    """Returns ``[slot; centre; mass]`` of every slot; the slot alone where no places are shown."""
    parts = [observations["slots"].unflatten(-1, (num_slots, -1))]
    if "centers" in observations:
        parts.append(observations["centers"].unflatten(-1, (num_slots, 2)))
        parts.append(observations["mass"].unsqueeze(-1))
    return torch.cat(parts, dim=-1)


def token_size(space: spaces.Space[Any], num_slots: int) -> int:
    """Returns the width of a slot's token."""
    places = isinstance(space, spaces.Dict) and "centers" in space.spaces
    return _size(space, "slots", "slots") // num_slots + 3 * places


def count_slots(space: spaces.Space[Any], num_slots: int | None) -> int:
    """Returns S, as the space tells it or as it was given.

    Raises:
        ConfigError: nobody tells it, or it does not divide the slots' numbers.
    """
    numbers = _size(space, "slots", "SlotExtractor")
    if isinstance(space, spaces.Dict) and "mass" in space.spaces:
        num_slots = _size(space, "mass", "SlotExtractor")
    if not num_slots or numbers % num_slots:
        raise ConfigError(
            f"SlotExtractor.num_slots must divide the {numbers} numbers of 'slots', found {num_slots}; "
            "give num_slots=world_model.config.num_slots, or use observation='objects'"
        )
    return num_slots


def _size(space: spaces.Space[Any], key: str, whose: str) -> int:
    """The length of a vector in a dictionary, or of the vector that is the belief itself."""
    part = space.spaces.get(key) if isinstance(space, spaces.Dict) else space
    if part is space and key != "belief":
        part = None
    if not isinstance(part, spaces.Box) or len(part.shape) != 1:
        raise ConfigError(
            f"{whose}: a vector {key!r} required, found {space}; wrap the environment in "
            "aime_agent.envs.BeliefObservation"
        )
    return int(part.shape[0])
