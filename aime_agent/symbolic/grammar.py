"""Which token may come next: a law is written node by node, and can always still be finished.

`Grammar` says what is allowed for one task, `Draft` is a tree in the making. The rules:

- length: tokens + open slots never exceed ``max_nodes``, so every draft ends complete;
- variables and tokens outside the task's library are never offered;
- no sin or cos inside sin, cos; no exp(log), log(exp), sqrt(square) or the like; no neg of neg;
- a ``const`` is no operator's only kind of child (its value would make a number), and there are at most
  ``max_constants``; no exp, log, sin, cos, tanh of a bare number; at least one variable;
- with units, only what can still reach the unit of the target (`unit_automaton`).

Rules of taste step aside where they would leave nothing; length and units never do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from aime_agent.errors import ConfigError
from aime_agent.symbolic.tree import Tokens
from aime_agent.symbolic.unit_automaton import UnitAutomaton
from aime_agent.symbolic.units import Unit
from aime_agent.symbolic.vocabulary import (
    ARITY,
    CONST,
    ID,
    MAX_VARIABLES,
    NUM_TOKENS,
    NUMBER_VALUES,
    is_variable,
    library_ids,
)

Mask = Bool[np.ndarray, "V"]
NO_TOKEN = NUM_TOKENS
"""Stands for the parent of the root, and for a sibling or a predecessor that is not there."""

_FUNCTIONS = frozenset(ID[name] for name in ("exp", "log", "sin", "cos", "tanh"))
_TRIG = frozenset((ID["sin"], ID["cos"]))
_FORBIDDEN_CHILD = {
    ID[parent]: frozenset(ID[child] for child in children)
    for parent, children in {
        "neg": ("neg",),
        "inverse": ("inverse",),
        "exp": ("log",),
        "log": ("exp",),
        "sqrt": ("square",),
        "square": ("sqrt",),
        "abs": ("abs", "neg"),
    }.items()
}
_ALL_ARITIES = np.array(ARITY)
_ANY = np.ones(NUM_TOKENS, bool)
_ARE_VARIABLES = np.arange(NUM_TOKENS) < MAX_VARIABLES
_MOST_KEPT = 200_000
GROWTH_COST = 0.5
"""Log-probability per node beyond the shortest way out, with units."""


class Options(NamedTuple):
    """What may come next."""

    mask: Mask
    prior: Float64[np.ndarray, "V"]
    """Probabilities of a writer who knows nothing."""


@dataclass
class _Open:
    """A node whose children are not all there."""

    token: int
    state: int
    trig: bool
    first_token: int = NO_TOKEN
    first_unit: int = -1


class Grammar:
    """The rules of one task.

    Args:
        library: Names of operators, numbers and ``const``.
        num_variables: How many of x0 … x9 there are.
        max_nodes: Largest size of a law.
        max_constants: Most ``const`` tokens in a law.
        units: Units of the variables and of the target; None switches units off.

    Raises:
        ConfigError: there are no variables, or more than the vocabulary holds.
    """

    def __init__(
        self,
        library: Sequence[str],
        num_variables: int,
        max_nodes: int = 30,
        max_constants: int = 3,
        units: tuple[Sequence[Unit], Unit] | None = None,
    ) -> None:
        if not 1 <= num_variables <= MAX_VARIABLES:
            raise ConfigError(
                f"a grammar needs 1 to {MAX_VARIABLES} variables, found {num_variables}"
            )
        if max_nodes < 1:
            raise ConfigError(f"max_nodes must be at least 1, found {max_nodes}")
        self.max_nodes = max_nodes
        self.max_constants = max_constants
        self.num_variables = num_variables
        self.library = library_ids(library)
        self.allowed = np.zeros(NUM_TOKENS, bool)
        self.allowed[[*range(num_variables), *self.library]] = True
        if CONST in self.library and max_constants == 0:
            self.allowed[CONST] = False
        self.automaton = None if units is None else UnitAutomaton(self.library, *units)
        self._options: dict[tuple[object, ...], Options] = {}

    def begin(self) -> "Draft":
        """Returns an empty draft."""
        return Draft(self)

    def draft_of(self, tokens: Sequence[int]) -> "Draft":
        """Returns the draft after these tokens, each of which must have been allowed."""
        draft = self.begin()
        for position, token in enumerate(tokens):
            if draft.complete or not draft.options().mask[token]:
                raise ConfigError(f"token {token} at position {position} is not allowed there")
            draft.place(token)
        return draft

    def options_of(self, draft: "Draft") -> "Options":
        """Returns what may come next; the mask is never all False before the tree is complete."""
        parent = draft.parent
        key = (
            self.max_nodes - len(draft.tokens) if self.automaton else draft.room,
            draft.state,
            parent,
            draft.sibling == CONST,
            draft.in_trig,
            draft.constants < self.max_constants,
            draft.needs_variable,
        )
        if key not in self._options:
            if len(self._options) >= _MOST_KEPT:
                self._options.clear()
            self._options[key] = self._found_options(draft)
        return self._options[key]

    def _found_options(self, draft: "Draft") -> "Options":
        growth = _ALL_ARITIES.astype(np.float64)
        if self.automaton is None:
            hard = self.allowed & (draft.room >= _ALL_ARITIES)
        else:
            needed = np.array(self.automaton.needed(draft.state))
            hard = self.allowed & (needed <= self.max_nodes - len(draft.tokens))
            growth = np.where(hard, needed - needed[hard].min(), 0.0)
        soft = hard.copy()
        soft[list(self._distasteful(draft))] = False
        mask = soft if soft.any() else hard
        mask.setflags(write=False)
        return Options(mask, self._prior(mask, growth))

    def _prior(self, mask: Mask, growth: Float64[np.ndarray, "V"]) -> Float64[np.ndarray, "V"]:
        """Returns the probabilities of a writer who knows nothing, 0 where the mask is False.

        Without units leaves, unary and binary tokens are equally likely, and half of the leaves are
        variables: one child is expected per node, so drafts neither die at once nor run to the
        limit. With units leaves often do not fit; then a token is the less likely the more nodes it
        costs beyond the shortest way out.
        """
        weights = np.zeros(NUM_TOKENS)
        groups = [_ARE_VARIABLES, ~_ARE_VARIABLES] if self.automaton is None else [_ANY]
        for arity in range(3):
            same = mask & (arity == _ALL_ARITIES)
            for group in (same & kind for kind in groups):
                weights[group] = 1.0 / max(1, group.sum())
            weights[same] /= max(1.0, weights[same].sum())
        if self.automaton is not None:
            weights *= np.exp(-GROWTH_COST * growth)
        return weights / weights.sum()

    def _distasteful(self, draft: "Draft") -> set[int]:
        """Returns what rules of taste forbid here."""
        parent = draft.parent
        bad = set(_FORBIDDEN_CHILD.get(parent, ()))
        if draft.in_trig:
            bad |= _TRIG
        alone = parent != NO_TOKEN and (ARITY[parent] == 1 or draft.sibling == CONST)
        if alone or draft.constants >= self.max_constants:
            bad.add(CONST)
        if parent in _FUNCTIONS:
            bad |= NUMBER_VALUES.keys()
        if draft.needs_variable:
            bad |= {t for t in range(NUM_TOKENS) if ARITY[t] == 0 and not is_variable(t)}
        return bad


@dataclass
class Draft:
    """A tree in the making; the next token fills the first open slot from the left."""

    grammar: Grammar
    tokens: list[int] = field(default_factory=list)
    open_nodes: list[_Open] = field(default_factory=list)
    open_slots: int = 1
    constants: int = 0
    has_variable: bool = False
    state: int = field(init=False)

    def __post_init__(self) -> None:
        automaton = self.grammar.automaton
        self.state = 0 if automaton is None else automaton.start

    @property
    def complete(self) -> bool:
        """Whether no child is missing."""
        return self.open_slots == 0

    @property
    def room(self) -> int:
        """How many children the next token may have."""
        return self.grammar.max_nodes - len(self.tokens) - self.open_slots

    @property
    def parent(self) -> int:
        """The operator over the open slot; `NO_TOKEN` at the root."""
        return self.open_nodes[-1].token if self.open_nodes else NO_TOKEN

    @property
    def sibling(self) -> int:
        """The root of the parent's first subtree, where the slot is the second child."""
        return self.open_nodes[-1].first_token if self.open_nodes else NO_TOKEN

    @property
    def previous(self) -> int:
        """The token that was placed last."""
        return self.tokens[-1] if self.tokens else NO_TOKEN

    @property
    def in_trig(self) -> bool:
        """Whether the slot lies inside sin or cos."""
        return bool(self.open_nodes) and self.open_nodes[-1].trig

    @property
    def needs_variable(self) -> bool:
        """Whether this is the last slot and no variable has been placed."""
        return self.open_slots == 1 and not self.has_variable

    @property
    def finished(self) -> Tokens:
        """The tokens so far as a tuple."""
        return tuple(self.tokens)

    def options(self) -> Options:
        """Returns what may come next."""
        return self.grammar.options_of(self)

    def place(self, token: int) -> None:
        """Fills the open slot with a token that the mask allows."""
        inside = self.in_trig or token in _TRIG
        self.tokens.append(token)
        self.open_slots += ARITY[token] - 1
        self.constants += token == CONST
        self.has_variable |= is_variable(token)
        automaton = self.grammar.automaton
        if ARITY[token]:
            self.open_nodes.append(_Open(token, self.state, inside))
            if automaton is not None:
                self.state = automaton.first_child(self.state, token)
            return
        self._close(token, -1 if automaton is None else automaton.leaf_unit(token))

    def _close(self, token: int, unit: int) -> None:
        """Hands a finished subtree to its parent, and the parent, if finished, to the next."""
        automaton = self.grammar.automaton
        while self.open_nodes:
            above = self.open_nodes[-1]
            if ARITY[above.token] == 2 and above.first_token == NO_TOKEN:
                above.first_token, above.first_unit = token, unit
                if automaton is not None:
                    self.state = automaton.second_child(above.state, above.token, unit)
                return
            if automaton is not None:
                units = [unit] if ARITY[above.token] == 1 else [above.first_unit, unit]
                unit = automaton.closed_unit(above.token, units)
            token = self.open_nodes.pop().token
