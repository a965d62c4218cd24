"""The process that does algebra: one question per line in, one answer per line out, as JSON.

It is started by `aime_agent.symbolic.equivalence` and killed where it takes too long, since
nothing inside SymPy can be told to stop.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import sympy

from aime_agent.symbolic.to_sympy import symbols_for, tidied, to_sympy
from aime_agent.symbolic.tree import Expression

_DIGITS = 50
_SAME = sympy.Float("1e-35", 20)


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Answers one question about laws ``a`` and ``b``; ``verb`` says which.

    ``differ``: whether they do at one of the ``points``, to 50 digits, and whether all numbers are
    exact, without which nothing can be said. ``prove``: whether their difference simplifies to 0.
    ``simplify``: the simplest form of ``a``.
    """
    symbols = symbols_for(question["positive"], question.get("names"))
    a = tidied(to_sympy(_expression(question["a"]), symbols))
    if question["verb"] == "simplify":
        return {"text": sympy.sstr(sympy.simplify(a), full_prec=False)}
    b = tidied(to_sympy(_expression(question["b"]), symbols))
    if question["verb"] == "differ":
        if a.has(sympy.Float) or b.has(sympy.Float):
            return {"differ": False, "exact": False}
        points = question["points"]
        return {"differ": any(_differ(a, b, symbols, point) for point in points), "exact": True}
    return {"proved": bool(sympy.simplify(a - b) == 0)}


def _expression(data: Mapping[str, Any]) -> Expression:
    return Expression(tuple(data["tokens"]), tuple(data["constants"]))


def _differ(a: Any, b: Any, symbols: list[Any], point: list[str]) -> bool:
    """Whether two expressions have different values at a point."""
    at = dict(zip(symbols, map(sympy.Rational, point), strict=True))
    left, right = (sympy.N(side.subs(at), _DIGITS) for side in (a, b))
    gap, size = abs(left - right), abs(left) + abs(right)
    return not bool(gap <= _SAME * (1 + size))


def replies(lines: Iterable[str]) -> Iterator[str]:
    """Yields an answer to each question; trouble is an answer too."""
    for line in lines:
        try:
            yield json.dumps(answer(json.loads(line)))
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            yield json.dumps({"trouble": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Says that it is ready, then answers until its input ends."""
    for reply in chain(["ready"], replies(sys.stdin)):
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
