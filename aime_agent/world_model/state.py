"""What the world model carries from frame to frame, and what it believes at one frame.

All leaves are batch-first. `WorldState` is the state *before* o_t; a `Belief` adds what was
inferred from o_t (or dreamt without it). Only ``hidden, cell, context_hat`` feed the recurrence;
attention, slots and the ring of frame summaries are read when somebody looks, or infers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class WorldState(NamedTuple):
    """State before the observation at t."""

    hidden: Float[Tensor, "B h"]
    """h_t, the LSTM's output."""
    cell: Float[Tensor, "B cells"]
    """The LSTM's memory (all layers' hidden and cell states beyond the top hidden)."""
    context_hat: Float[Tensor, "B c"]
    """Predicted context of t-1, which the prior of t reads."""
    attention: Float[Tensor, "B R R"]
    """A_{t-1}, sums to 1."""
    attention_memory: Float[Tensor, "B G r r"]
    """ConvGRU state of the attention prior."""
    slots: Float[Tensor, "B S D"]
    """Slots of t-1."""
    ring: Float[Tensor, "B W F"]
    """Summaries of the last frames, for the causal mixer."""
    ring_valid: Bool[Tensor, "B W"]
    """Which entries of the ring belong to this episode."""
    action: Float[Tensor, "B A"] | None = None
    """a_{t-1}, 0 before the first frame; None where the prior does not read it directly."""


class Belief(NamedTuple):
    """What is believed at t: by inference if o_t was seen, by the prior in a dream."""

    state: WorldState
    """The state it started from (after a reset where a new episode began)."""
    z: Float[Tensor, "B z"]
    mean: Float[Tensor, "B z"] | None
    """Of the posterior; None in a dream."""
    std: Float[Tensor, "B z"] | None
    log_pi: Float[Tensor, "B K"] | None
    """Mixture weights of the prior in a dream; None where z was inferred."""
    context: Float[Tensor, "B c"]
    """Perceived context; in a dream the predicted one."""
    context_hat: Float[Tensor, "B c"]
    """g(h_t, z_t), which the recurrence reads."""
    log_attention_hat: Float[Tensor, "B R R"] | None
    """Log of the predicted map A^_t, which the decoder reads; None in a rollout nobody watches."""
    log_evidence: Float[Tensor, "B R R"] | None
    """Log of the slots' bottom-up map; None in a dream."""
    attention: Float[Tensor, "B R R"] | None
    """A_t: fused map, or A^_t in a dream."""
    attention_memory: Float[Tensor, "B G r r"] | None
    shift: Float[Tensor, "B 2"] | None
    """Predicted movement of attention in grid cells (x, y)."""
    slots_hat: Float[Tensor, "B S D"] | None
    slots: Float[Tensor, "B S D"] | None
    responsibilities: Float[Tensor, "B S L"] | None
    """Share of each slot in each cell; None in a dream."""
    ring: Float[Tensor, "B W F"]
    """Summaries up to this frame; a pass over a sequence gives them to its last belief alone (the
    others hold those from before the pass, so infer on from the last one)."""
    ring_valid: Bool[Tensor, "B W"]

    @property
    def hidden(self) -> Float[Tensor, "*b h"]:
        """h_t."""
        return self.state.hidden

    @property
    def features(self) -> Float[Tensor, "*b hz"]:
        """[h_t; z_t]: what policies and heads read; of one belief or of stacked ones."""
        return torch.cat([self.state.hidden, self.z], dim=-1)


class Evidence(NamedTuple):
    """What the observations say before any recurrence; ``[B, T, ...]`` or one frame ``[B, ...]``."""

    posterior_input: Tensor
    keys: Tensor
    values: Tensor
    glimpse_values: Tensor
    context: Tensor

    def frames(self) -> "list[Evidence]":
        """Splits ``[B, T, ...]`` into T single frames (one unbind, not T slices)."""
        return [Evidence(*parts) for parts in zip(*(x.unbind(1) for x in self), strict=True)]


class TokenEvidence(NamedTuple):
    """The tokenizer's part of the evidence, flat over ``N = B*T`` frames."""

    codes: Float[Tensor, "N d h w"]
    ids: Tensor
    commitment: Float[Tensor, " N"]
    perplexity: Float[Tensor, ""]


def no_tokens(features: Float[Tensor, "N C h w"]) -> TokenEvidence:
    """Returns the tokens of a model that has no tokenizer: none per frame."""
    n = len(features)
    codes, ids = features.new_empty(n, 0, 0, 0), features.new_empty(n, 0, 0).long()
    return TokenEvidence(codes, ids, features.new_zeros(n), features.new_zeros(()))


class Look(NamedTuple):
    """What slots say at one frame; None where slots or maps are switched off."""

    slots_hat: Float[Tensor, "B S D"] | None
    slots: Float[Tensor, "B S D"] | None
    responsibilities: Float[Tensor, "B S L"] | None
    log_evidence: Float[Tensor, "B R R"] | None
    glimpse: Float[Tensor, "B G"] | None


class AttentionView(NamedTuple):
    """Where the model looks at one belief (or a stack of them)."""

    map: Float[Tensor, "*b R R"]
    slot_maps: Float[Tensor, "*b S R R"]
    centers: Float[Tensor, "*b S 2"]
    mass: Float[Tensor, "*b S"]
    slots: Float[Tensor, "*b S D"]


class Retrieved(NamedTuple):
    """What a query found among the slots of a belief (or a stack of them)."""

    slot: Float[Tensor, "*b D"]
    """Mean of the slots under the weights."""
    weights: Float[Tensor, "*b S"]
    map: Float[Tensor, "*b R R"]
    """Where it is; sums to 1."""
    center: Float[Tensor, "*b 2"]


class Trajectory(NamedTuple):
    """A rollout of H steps from N beliefs."""

    features: Float[Tensor, "N H1 F"]
    """Of the start and of the H beliefs after it."""
    actions: Float[Tensor, "N H A"]
    beliefs: list[Belief]
    """The H imagined beliefs."""


class Prediction(NamedTuple):
    """Open-loop prediction, ``[B, num_samples, horizon, ...]`` (no sample axis for one sample)."""

    observations: Tensor | None
    rewards: Tensor
    continues: Tensor
    latents: Tensor
    attention_maps: Tensor | None
    slots: Tensor | None
    mixture_weights: Tensor


def where_first(is_first: Bool[Tensor, " B"], initial: WorldState, state: WorldState) -> WorldState:
    """Returns ``initial`` in the rows where a new episode begins, ``state`` elsewhere.

    The ring of frame summaries is left to the mixer, which knows episodes itself.
    """

    def choose(x0: Tensor, x: Tensor) -> Tensor:
        return torch.where(is_first.view(-1, *[1] * (x.ndim - 1)), x0, x)

    rows = [choose(x0, x) for x0, x in zip(initial[:6], state[:6], strict=True)]
    action = None
    if initial.action is not None and state.action is not None:
        action = choose(initial.action, state.action)
    return WorldState._make([*rows, state.ring, state.ring_valid, action])


Tree = TypeVar("Tree", WorldState, Belief)


def map_tree(function: Callable[..., Tensor], *trees: Tree) -> Tree:
    """Applies a function leaf by leaf; None stays None."""
    leaves: list[Any] = []
    for parts in zip(*trees, strict=True):
        first: Any = parts[0]
        if first is None:
            leaves.append(None)
        elif isinstance(first, WorldState):
            leaves.append(map_tree(function, *parts))
        else:
            leaves.append(function(*parts))
    return type(trees[0])._make(leaves)


def stack_beliefs(beliefs: Sequence[Belief]) -> Belief:
    """Stacks beliefs of single frames along time: ``[B, T, ...]``."""
    return map_tree(lambda *xs: torch.stack(xs, 1), *beliefs)


def bare_belief(
    hidden: Tensor, cell: Tensor, z: Tensor, context_hat: Tensor, context: Tensor | None = None
) -> Belief:
    """A belief that holds what the recurrence needs; attention, slots and ring are empty.

    Args:
        hidden: h.
        cell: The LSTM's memory.
        z: The latent.
        context_hat: The predicted context.
        context: The seen one; the predicted one if absent, as in a dream.
    """
    n = hidden.shape[0]
    square, row = hidden.new_empty(n, 0, 0), hidden.new_empty(n, 0)
    valid = torch.empty(n, 0, dtype=torch.bool, device=hidden.device)
    state = WorldState(hidden, cell, context_hat, square, square[..., None], square, square, valid)
    return Belief(
        state, z, None, None, None, context_hat if context is None else context, context_hat,
        None, None, None, None, None, None, None, None, square, row.bool(),
    )  # fmt: skip
