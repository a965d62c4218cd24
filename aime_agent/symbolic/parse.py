"""Laws written as text, ``m*v**2/2 + k*x**2/2``, to tokens of a given library.

The text goes through Python's own parser into a syntax tree of which a few kinds of node are
accepted; nothing is ever executed. What a library lacks is built from what it has:
without ``square``, x² becomes x·x; without numbers, 1 becomes x/x, as the benchmarks do it.
"""

import ast
import math
from collections.abc import Sequence
from functools import reduce

from aime_agent.errors import ConfigError, nearest
from aime_agent.symbolic.tree import Expression, Tokens
from aime_agent.symbolic.vocabulary import ID, MAX_VARIABLES, VOCABULARY, Kind, library_ids

_FUNCTIONS = ("sqrt", "exp", "log", "sin", "cos", "tanh", "abs")
_LARGEST_POWER = 12
_LARGEST_NUMBER = 64
"""Whole numbers up to here are built from 1 and 2; all others are constants."""


class _Writer:
    """Writes subtrees with the tokens of one library."""

    def __init__(self, library: Sequence[str], variables: Sequence[str]) -> None:
        library_ids(library)
        self.library = frozenset(library)
        self.variables = {name: ID[f"x{i}"] for i, name in enumerate(variables)}
        self.constants: list[float] = []

    def operator(self, name: str, *children: Tokens) -> Tokens:
        """Returns the children under an operator of the library."""
        if name not in self.library:
            raise ConfigError(
                f"the law needs {name!r}, which its library lacks: {', '.join(sorted(self.library))}"
            )
        return (ID[name], *(token for child in children for token in child))

    def number(self, value: float) -> Tokens:
        """Returns 0, 1, 2, ... built from the library's numbers, or a constant of this value."""
        if not math.isfinite(value):
            raise ConfigError(f"numbers of a law must be finite, found {value}")
        if not (0 <= value <= _LARGEST_NUMBER and value == int(value)):
            self.constants.append(float(value))
            return self.operator("const")
        if value == 0:
            return self.operator("sub", self.number(1), self.number(1))
        if value in (1, 2) and str(int(value)) in self.library:
            return (ID[str(int(value))],)
        if value == 1:
            return self.operator("div", (ID["x0"],), (ID["x0"],))
        half, odd = divmod(int(value), 2)
        if odd or half == 1:
            return self.operator("add", self.number(1), self.number(value - 1))
        return self.operator("mul", self.number(2), self.number(half))

    def negative(self, child: Tokens) -> Tokens:
        """Returns −child, as 0 − child where there is no ``neg``."""
        if "neg" in self.library:
            return self.operator("neg", child)
        return self.operator("sub", self.number(0), child)

    def power(self, base: Tokens, exponent: int) -> Tokens:
        """Returns a whole power by squares, cubes and products."""
        if exponent == 1:
            return base
        if exponent == 2 and "square" in self.library:
            return self.operator("square", base)
        if exponent == 3 and "cube" in self.library:
            return self.operator("cube", base)
        if exponent == 4 and "square" in self.library:
            return self.power(self.power(base, 2), 2)
        return reduce(lambda rest, _: self.operator("mul", base, rest), range(exponent - 1), base)

    def root(self, base: Tokens) -> Tokens:
        """Returns √base, as exp(log(base)/2) where there is no ``sqrt``."""
        if "sqrt" in self.library:
            return self.operator("sqrt", base)
        log = self.operator("log", base)
        return self.operator("exp", self.operator("div", log, self.number(2)))


def parse(text: str, variables: Sequence[str], library: Sequence[str]) -> Expression:
    """Returns the tokens of a law, and the values of its constants.

    >>> parse("m*v**2", ["m", "v"], ["mul", "square"]).tokens
    (16, 0, 20, 1)

    Args:
        text: Python's notation: + - * / ** and sqrt, exp, log, sin, cos, tanh, abs, pi.
        variables: Names of x0, x1, ...
        library: Names of the tokens that may be used.

    Raises:
        ConfigError: the text is no such formula, has an unknown name, or needs what is not in the
            library.
    """
    if len(variables) > MAX_VARIABLES:
        raise ConfigError(
            f"a law has at most {MAX_VARIABLES} variables (the vocabulary holds no more), "
            f"found {len(variables)}: {', '.join(variables)}"
        )
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ConfigError(f"law {text!r} is no formula: {error.msg}") from error
    writer = _Writer(library, variables)
    return Expression(_written(body, writer, text), tuple(writer.constants))


def _written(node: ast.expr, writer: _Writer, text: str) -> Tokens:
    """Writes one node of the syntax tree."""
    match node:
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _power(base, exponent, writer, text)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op):
            name = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}[type(op)]
            first = _written(left, writer, text)
            return writer.operator(name, first, _written(node.right, writer, text))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return writer.negative(_written(inner, writer, text))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in _FUNCTIONS:
                hint = nearest(name, _FUNCTIONS)
                raise ConfigError(f"law {text!r}: no function is named {name!r}. {hint}")
            inner_tokens = _written(argument, writer, text)
            return (
                writer.root(inner_tokens) if name == "sqrt" else writer.operator(name, inner_tokens)
            )
        case ast.Name(id=name):
            return _named(name, writer, text)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return writer.number(value)
    raise ConfigError(f"law {text!r}: {ast.unparse(node)!r} is not part of a formula")


def _named(name: str, writer: _Writer, text: str) -> Tokens:
    if name in writer.variables:
        return (writer.variables[name],)
    if name == "pi":
        return writer.operator("pi")
    known = [*writer.variables, "pi"]
    raise ConfigError(f"law {text!r}: no variable is named {name!r}. {nearest(name, known)}")


def _power(base: ast.expr, exponent: ast.expr, writer: _Writer, text: str) -> Tokens:
    """Writes base**n for n = 1, 2, ...; any other exponent as exp(exponent log base)."""
    if isinstance(exponent, ast.Constant) and isinstance(exponent.value, int):
        if not 1 <= exponent.value <= _LARGEST_POWER:
            raise ConfigError(
                f"law {text!r}: whole powers go from 1 to {_LARGEST_POWER}, found {exponent.value}"
            )
        return writer.power(_written(base, writer, text), exponent.value)
    log = writer.operator("log", _written(base, writer, text))
    return writer.operator("exp", writer.operator("mul", _written(exponent, writer, text), log))


def reserved_names() -> frozenset[str]:
    """Returns names that no variable may have, since the notation means something else by them."""
    operators = {token.name for token in VOCABULARY if token.kind is not Kind.VARIABLE}
    return frozenset(operators | set(_FUNCTIONS) | {"pi"})
