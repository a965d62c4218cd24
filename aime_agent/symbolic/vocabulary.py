"""The alphabet of laws: every token has a fixed id, the same in all tasks and for ever.

Policies and checkpoints store ids, so the list may grow at its end and must never change before it.

| ids | tokens |
|---|---|
| 0 to 9 | variables x0 … x9 |
| 10 | ``const``: a number that is fitted to the data |
| 11 to 13 | the numbers 1, 2, pi |
| 14 to 28 | operators, two children first |
"""

import math
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from aime_agent.errors import ConfigError, nearest

MAX_VARIABLES = 10


class Kind(Enum):
    """What a token is."""

    VARIABLE = "variable"
    CONSTANT = "constant"
    NUMBER = "number"
    OPERATOR = "operator"


class Token(NamedTuple):
    """One node of an expression tree."""

    id: int
    name: str
    arity: int
    kind: Kind


_NUMBERS = ("1", "2", "pi")
_BINARY = ("add", "sub", "mul", "div")
_UNARY = (
    "neg", "inverse", "square", "cube", "sqrt", "exp", "log", "sin", "cos", "tanh", "abs",
)  # fmt: skip


def _listed() -> tuple[Token, ...]:
    rows = [(f"x{i}", 0, Kind.VARIABLE) for i in range(MAX_VARIABLES)]
    rows += [("const", 0, Kind.CONSTANT)]
    rows += [(name, 0, Kind.NUMBER) for name in _NUMBERS]
    rows += [(name, 2, Kind.OPERATOR) for name in _BINARY]
    rows += [(name, 1, Kind.OPERATOR) for name in _UNARY]
    return tuple(Token(i, *row) for i, row in enumerate(rows))


VOCABULARY: tuple[Token, ...] = _listed()
"""All tokens, by id."""
NUM_TOKENS = len(VOCABULARY)
ID: dict[str, int] = {token.name: token.id for token in VOCABULARY}
ARITY: tuple[int, ...] = tuple(token.arity for token in VOCABULARY)
CONST = ID["const"]
NUMBER_VALUES: dict[int, float] = {ID["1"]: 1.0, ID["2"]: 2.0, ID["pi"]: math.pi}

KOZA = ("add", "sub", "mul", "div", "sin", "cos", "exp", "log")
"""The library of the Nguyen benchmark: no numbers, no constants."""
PHYSICS = (
    "1", "2", "pi", "add", "sub", "mul", "div", "neg", "square", "cube", "sqrt", "exp", "log",
    "sin", "cos",
)  # fmt: skip
"""The library of the laws."""


def is_variable(token: int) -> bool:
    """Whether an id is one of x0 … x9."""
    return token < MAX_VARIABLES


def library_ids(names: Iterable[str]) -> frozenset[int]:
    """Returns the ids of operators, numbers and ``const`` by name.

    >>> sorted(library_ids(["mul", "add"]))
    [14, 16]

    Raises:
        ConfigError: a name is no such token.
    """
    known = {token.name for token in VOCABULARY if token.kind is not Kind.VARIABLE}
    for name in names:
        if name not in known:
            raise ConfigError(f"library: no token is named {name!r}. {nearest(name, known)}")
    return frozenset(ID[name] for name in names)
