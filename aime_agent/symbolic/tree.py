"""Expressions as prefix lists of token ids: root first, then its children from left to right.

>>> from aime_agent.symbolic.vocabulary import ID
>>> law = Expression((ID["mul"], ID["x0"], ID["square"], ID["x1"]))
>>> infix(law, ["m", "v"])
'm*v^2'
"""

from collections.abc import Sequence
from typing import NamedTuple

from aime_agent.errors import DataError
from aime_agent.symbolic.vocabulary import ARITY, CONST, NUM_TOKENS, VOCABULARY, is_variable

Tokens = tuple[int, ...]

_LEVEL = {"add": 1, "sub": 1, "neg": 1, "mul": 2, "div": 2, "square": 3, "cube": 3, "inverse": 2}
_SIGN = {"add": " + ", "sub": " - ", "mul": "*", "div": "/"}
_POWER = {"square": "^2", "cube": "^3"}
_ATOM = 4


class Expression(NamedTuple):
    """A complete tree; ``constants`` are the values of its ``const`` tokens from left to right."""

    tokens: Tokens
    constants: tuple[float, ...] = ()


def missing(tokens: Sequence[int]) -> int:
    """Returns how many children are still missing: 0 for a complete tree, 1 for no token at all.

    Raises:
        DataError: tokens go on after the tree is complete, or an id is unknown.
    """
    open_slots = 1
    for position, token in enumerate(tokens):
        if not 0 <= token < NUM_TOKENS:
            raise DataError(f"token ids must lie in 0 to {NUM_TOKENS - 1}, found {token}")
        if open_slots == 0:
            raise DataError(f"the tree is complete after {position} tokens, found {len(tokens)}")
        open_slots += ARITY[token] - 1
    return open_slots


def check_complete(tokens: Sequence[int]) -> None:
    """Refuses what is no complete tree."""
    if lacking := missing(tokens):
        raise DataError(f"an expression must be complete, found {lacking} missing children")


def parents(tokens: Sequence[int]) -> list[int]:
    """Returns each node's parent as a position, −1 for the root.

    >>> parents((14, 0, 25, 1))
    [-1, 0, 0, 2]
    """
    found: list[int] = []
    waiting = [-1]
    for position, token in enumerate(tokens):
        found.append(waiting.pop())
        waiting += [position] * ARITY[token]
    return found


def depths(tokens: Sequence[int]) -> list[int]:
    """Returns each node's distance from the root."""
    found: list[int] = []
    for parent in parents(tokens):
        found.append(0 if parent < 0 else found[parent] + 1)
    return found


def num_variables(tokens: Sequence[int]) -> int:
    """Returns how many inputs an expression needs: 1 + its highest variable."""
    return max((token + 1 for token in tokens if is_variable(token)), default=0)


def infix(expression: Expression, names: Sequence[str] | None = None, open_mark: str = "…") -> str:
    """Returns the usual notation; children that are missing show as ``open_mark``."""
    constants = iter(expression.constants)
    tokens = iter(expression.tokens)

    def part() -> tuple[str, int]:
        token = next(tokens, None)
        if token is None:
            return open_mark, _ATOM
        children = [part() for _ in range(ARITY[token])]
        if token == CONST:
            return _number(next(constants, None))
        return _joined(_name(token, names), children)

    # Constants are numbered from left to right, the order in which ``part`` meets them.
    return part()[0]


def _joined(name: str, children: list[tuple[str, int]]) -> tuple[str, int]:
    """Writes one node around its children; the second value is how tightly it binds."""
    level = _LEVEL.get(name, _ATOM)
    if name in _SIGN:
        (left, left_level), (right, right_level) = children
        left = f"({left})" if left_level < level else left
        right = f"({right})" if right_level < level + (name in ("sub", "div")) else right
        return left + _SIGN[name] + right, level
    if name in _POWER:
        ((base, base_level),) = children
        return (base if base_level >= _ATOM else f"({base})") + _POWER[name], level
    if name in ("neg", "inverse"):
        ((inner, inner_level),) = children
        sign = "-" if name == "neg" else "1/"
        return sign + (inner if inner_level > level else f"({inner})"), level
    return (f"{name}({children[0][0]})", _ATOM) if children else (name, _ATOM)


def _number(value: float | None) -> tuple[str, int]:
    if value is None:
        return "c", _ATOM
    text = f"{value:.6g}"
    return text, 1 if text.startswith("-") else _ATOM


def _name(token: int, names: Sequence[str] | None) -> str:
    if is_variable(token) and names is not None and token < len(names):
        return names[token]
    return VOCABULARY[token].name


def draw_ascii(expression: Expression, names: Sequence[str] | None = None) -> str:
    """Returns the tree as lines of text, root first.

    >>> print(draw_ascii(Expression((16, 0, 20, 1)), ["m", "v"]))
    mul
    ├─ m
    └─ square
       └─ v
    """
    tokens, constants = iter(expression.tokens), iter(expression.constants)
    lines: list[str] = []

    def visit(head: str, rest: str) -> None:
        token = next(tokens, None)
        if token is None:
            lines.append(f"{head}…")
            return
        label = _number(next(constants, None))[0] if token == CONST else _name(token, names)
        lines.append(head + label)
        for child in range(ARITY[token], 0, -1):
            last = child == 1
            visit(rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    visit("", "")
    return "\n".join(lines)
