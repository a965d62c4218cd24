"""Expressions as SymPy objects, built node by node.

Never from text: SymPy reads ``E*m`` as Euler's number times m, ``I`` as the imaginary unit, and refuses
``S``, ``N`` and ``Q``, all of which are names of quantities.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sympy

from aime_agent.symbolic.constants import Exact, snap
from aime_agent.symbolic.tree import Expression
from aime_agent.symbolic.vocabulary import ARITY, CONST, ID, VOCABULARY, is_variable

_ROUNDING = 1e-8
"""Relative error up to which a number that came out of others may be off a simple one."""
_NUMBERS = {ID["1"]: sympy.Integer(1), ID["2"]: sympy.Integer(2), ID["pi"]: sympy.pi}
_BY_NAME: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "inverse": lambda a: 1 / a,
    "square": lambda a: a**2,
    "cube": lambda a: a**3,
    "sqrt": sympy.sqrt,
    "exp": sympy.exp,
    "log": sympy.log,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tanh": sympy.tanh,
    "abs": sympy.Abs,
}


def symbols_for(positive: Sequence[bool], names: Sequence[str] | None = None) -> list[Any]:
    """Returns one symbol per variable, real, and positive where it is known to be.

    Args:
        positive: One entry per variable.
        names: What they are called; None for x0, x1, ...
    """
    called = names or [f"x{i}" for i in range(len(positive))]
    return [
        sympy.Symbol(name, positive=True) if sure else sympy.Symbol(name, real=True)
        for name, sure in zip(called, positive, strict=True)
    ]


def to_sympy(expression: Expression, symbols: Sequence[Any]) -> Any:
    """Returns the expression over the symbols; constants become simple numbers where they are some."""
    constants = [_constant(value) for value in expression.constants]
    stack: list[Any] = []
    for token in reversed(expression.tokens):
        if is_variable(token):
            stack.append(symbols[token])
        elif token == CONST:
            stack.append(constants.pop())
        elif token in _NUMBERS:
            stack.append(_NUMBERS[token])
        else:
            children = [stack.pop() for _ in range(ARITY[token])]
            stack.append(_BY_NAME[VOCABULARY[token].name](*children))
    return stack.pop()


def tidied(expression: Any) -> Any:
    """Returns an expression with all its numbers put together and made simple where they are.

    2.5·v/cos(1)·0.21612… becomes v: the numbers of a found law often cancel.
    """
    if not expression.has(sympy.Float):
        return expression
    simple = sympy.simplify(sympy.N(expression, 17))
    exact = {number: snap(float(number), _ROUNDING) for number in simple.atoms(sympy.Float)}
    known = {number: exact_number(value) for number, value in exact.items() if value is not None}
    return simple.xreplace(known)


def exact_number(value: Exact) -> Any:
    """Returns the number as a SymPy object."""
    size = sympy.Rational(abs(value.numerator), value.denominator) * sympy.pi**value.pi_power
    return (sympy.sqrt(size) if value.root else size) * (-1 if value.numerator < 0 else 1)


def _constant(value: float) -> Any:
    found = snap(value)
    return sympy.Float(value, 17) if found is None else exact_number(found)
