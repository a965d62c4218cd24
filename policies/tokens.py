"""What a task query can attend over: flat observations, cut into a set of tokens.

Environments are seen through `gymnasium.wrappers.FlattenObservation` (a Box stays what it is), so
one policy and one trainer serve trees, slots and states; a tokenizer knows the parts again.

| tokenizer | tokens | state (what is no token) |
|---|---|---|
| `TreeTokenizer` | nodes of an expression, 8 numbers each | nothing |
| `LawTokenizer` | nodes of the full symbolic observation | open slot, units, variables, rows of data |
| `SlotTokenizer` | AIME's slots, with centre and mass | the belief [h, z] |
| `StateTokenizer` | one per key, or per number of a vector | the whole vector |

Shapes: B batch, N tokens, D width, O numbers of an observation.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.layers.mlp import MLP
from aime_agent.policies.extractors import count_slots, slot_tokens, token_size
from aime_agent.symbolic.vocabulary import NUM_TOKENS

_MOST_STATE_TOKENS = 64
_AROUND = ("parent", "sibling", "previous", "scalars", "required_unit", "variables")


class TokenSet(NamedTuple):
    """A set to attend over, and what lies beside it."""

    tokens: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    state: Float[Tensor, "B D"]

    def summary(self) -> Float[Tensor, "B D"]:
        """The mean of the tokens that are there, plus the state."""
        count = self.mask.sum(dim=1, keepdim=True).clamp_min(1)
        return (self.tokens * self.mask[..., None]).sum(dim=1) / count + self.state


class Tokenizer(nn.Module, ABC):
    """Base of all.

    Args:
        observation_dim: O.
        dim: D.
    """

    def __init__(self, observation_dim: int, dim: int) -> None:
        super().__init__()
        self.observation_dim, self.dim = observation_dim, dim

    @abstractmethod
    def forward(self, observation: Float[Tensor, "B O"]) -> TokenSet:
        """Cuts an observation into tokens."""


class NodeEmbedding(nn.Module):
    """Nodes with what is above them: two rounds of x ← x + SiLU(W x + U x_parent).

    So a node knows parent and grandparent; token, side and depth come from its features.

    Args:
        node_feature_dim: Numbers per node: present, token, arity, depth, parent, …
        dim: D.
    """

    def __init__(self, node_feature_dim: int, dim: int) -> None:
        super().__init__()
        self.features = nn.Linear(node_feature_dim, dim)
        self.token = nn.Embedding(NUM_TOKENS, dim)
        self.own = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.above = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(2))

    def forward(
        self, nodes: Float[Tensor, "B N F"]
    ) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
        """Returns tokens, and which of them are there."""
        token = (nodes[..., 1] * NUM_TOKENS).round().long().clamp(0, NUM_TOKENS - 1)
        x = self.features(nodes) + self.token(token)
        parent = self._parents(nodes)
        rooted = (parent >= 0)[..., None]
        index = parent.clamp_min(0)[..., None].expand_as(x)
        for own, above in zip(self.own, self.above, strict=True):
            x = x + torch.nn.functional.silu(own(x) + above(x.gather(1, index)) * rooted)
        return x, nodes[..., 0] > 0.5

    @staticmethod
    def _parents(nodes: Float[Tensor, "B N F"]) -> Int64[Tensor, "B N"]:
        """The position of each node's parent, −1 for the root, as `node_features` wrote it."""
        count = nodes.shape[1]
        return ((nodes[..., 4] * count).round().long() - 1).clamp(-1, count - 1)


class TreeTokenizer(Tokenizer):
    """Nodes alone: the flat observation of the seed's policy, 16 nodes of 8 numbers.

    Args:
        observation_dim: O, a multiple of ``node_feature_dim``.
        dim: D.
        node_feature_dim: Numbers per node, at least 5.

    Raises:
        ConfigError: they do not divide O.
    """

    def __init__(self, observation_dim: int, dim: int, node_feature_dim: int = 8) -> None:
        super().__init__(observation_dim, dim)
        if node_feature_dim < 5 or observation_dim % node_feature_dim:
            raise ConfigError(
                f"node_feature_dim must be at least 5 and divide observation_dim={observation_dim}, "
                f"found {node_feature_dim}"
            )
        self.node_feature_dim = node_feature_dim
        self.nodes = NodeEmbedding(node_feature_dim, dim)

    def forward(self, observation: Float[Tensor, "B O"]) -> TokenSet:
        """Cuts an observation into nodes."""
        nodes = observation.unflatten(-1, (-1, self.node_feature_dim))
        tokens, mask = self.nodes(nodes)
        return TokenSet(tokens, mask, tokens.new_zeros(len(tokens), self.dim))


class Layout:
    """Where the keys of a flattened dictionary lie.

    Args:
        space: The dictionary.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        parts = _parts(space)
        ends = np.cumsum([0, *(spaces.flatdim(part) for part in parts.values())])
        self.slices = {
            key: slice(int(a), int(b)) for key, (a, b) in zip(parts, pairwise(ends), strict=True)
        }
        self.size = int(ends[-1])

    def cut(self, flat: Float[Tensor, "B O"]) -> dict[str, Tensor]:
        """Returns the parts by key, each flat."""
        return {key: flat[:, part] for key, part in self.slices.items()}


class LawTokenizer(Tokenizer):
    """Nodes of ``AIME/SymbolicDiscovery-v0``'s dictionary; all else is the state.

    Rows of data go through a set encoder (Zaheer et al., 2017), so their order does not matter.

    Args:
        space: The dictionary, before it was flattened.
        dim: D.
    """

    def __init__(self, space: spaces.Space[Any], dim: int) -> None:
        layout = Layout(space)
        super().__init__(layout.size, dim)
        self.layout = layout
        self.node_feature_dim = _shape(space, "nodes")[-1]
        self.columns = _shape(space, "data")[-1]
        self.nodes = NodeEmbedding(self.node_feature_dim, dim)
        self.rows = MLP(self.columns, dim, out_features=dim)
        size = sum(spaces.flatdim(_parts(space)[key]) for key in _AROUND)
        self.around = MLP(size, dim, out_features=dim)

    def forward(self, observation: Float[Tensor, "B O"]) -> TokenSet:
        """Cuts an observation into nodes and the rest."""
        seen = self.layout.cut(observation)
        tokens, mask = self.nodes(seen["nodes"].unflatten(-1, (-1, self.node_feature_dim)))
        rows = seen["data"].unflatten(-1, (-1, self.columns))
        around = torch.cat([seen[key] for key in _AROUND], dim=-1)
        return TokenSet(tokens, mask, self.around(around) + self.rows(rows).mean(dim=1))


class SlotTokenizer(Tokenizer):
    """Slots of a belief environment (``observation="slots"`` or ``"objects"``); the belief is the state.

    Args:
        space: The dictionary, before it was flattened.
        dim: D.
        num_slots: S, where no ``mass`` tells it.
    """

    def __init__(self, space: spaces.Space[Any], dim: int, num_slots: int | None = None) -> None:
        layout = Layout(space)
        super().__init__(layout.size, dim)
        self.layout = layout
        self.num_slots = count_slots(space, num_slots)
        self.embed = nn.Linear(token_size(space, self.num_slots), dim)
        self.belief = MLP(_shape(space, "belief")[0], dim)

    def forward(self, observation: Float[Tensor, "B O"]) -> TokenSet:
        """Cuts an observation into slots and belief."""
        seen = self.layout.cut(observation)
        tokens = self.embed(slot_tokens(seen, self.num_slots))
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return TokenSet(tokens, mask, self.belief(seen["belief"]))


class StateTokenizer(Tokenizer):
    """One token per part of a state; every part has its own embedding.

    Args:
        sizes: Numbers of each part, in the order in which they lie.
        dim: D.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int) -> None:
        super().__init__(sum(sizes.values()), dim)
        self.sizes = dict(sizes)
        self.embed = nn.ModuleList(nn.Linear(size, dim) for size in sizes.values())
        self.whole = MLP(self.observation_dim, dim)

    @classmethod
    def from_space(cls, space: spaces.Space[Any], dim: int) -> "StateTokenizer":
        """Takes the keys of a dictionary, or every number of a vector, as parts.

        Raises:
            ConfigError: neither, or a vector of more than 64 numbers.
        """
        if isinstance(space, spaces.Dict):
            return cls({key: spaces.flatdim(part) for key, part in space.spaces.items()}, dim)
        size = spaces.flatdim(space) if isinstance(space, spaces.Box) else 0
        if not 1 <= size <= _MOST_STATE_TOKENS:
            raise ConfigError(
                f"StateTokenizer needs a dictionary or a vector of at most {_MOST_STATE_TOKENS} "
                f"numbers, found {space}; give sizes={{part: numbers}}"
            )
        return cls({str(i): 1 for i in range(size)}, dim)

    def forward(self, observation: Float[Tensor, "B O"]) -> TokenSet:
        """Cuts a state into parts."""
        parts = observation.split(list(self.sizes.values()), dim=-1)
        tokens = torch.stack([f(x) for f, x in zip(self.embed, parts, strict=True)], dim=1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return TokenSet(tokens, mask, self.whole(observation))


def tokenizer_for(space: spaces.Space[Any], dim: int) -> Tokenizer:
    """Returns the tokenizer that knows an environment's observations: law, slots, nodes or state."""
    if isinstance(space, spaces.Dict):
        if {"nodes", "data", "required_unit"} <= set(space.spaces):
            return LawTokenizer(space, dim)
        if {"belief", "mass", "slots"} <= set(space.spaces):
            return SlotTokenizer(space, dim)
    return StateTokenizer.from_space(space, dim)


def _parts(space: spaces.Space[Any]) -> Mapping[str, spaces.Space[Any]]:
    if not isinstance(space, spaces.Dict):
        raise ConfigError(f"a dictionary of observations required, found {space}")
    return space.spaces


def _shape(space: spaces.Space[Any], key: str) -> tuple[int, ...]:
    parts = _parts(space)
    shape = parts[key].shape if key in parts else None
    if shape is None:
        raise ConfigError(f"the observation needs a part {key!r}, found {space}")
    return tuple(int(n) for n in shape)
