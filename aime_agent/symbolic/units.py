"""Units as exponents of the seven base units, and their notation ``kg*m^2/s^2``.

Exponents are counted in quarters, so that roots of roots stay whole numbers:
a unit is a tuple of seven integers, (4, -4, 0, 0, 0, 0, 0) being m/s.

>>> format_unit(multiply(parse_unit("N"), parse_unit("m")))
'm^2*kg/s^2'
"""

import re
from collections.abc import Sequence

from aime_agent.errors import ConfigError, nearest
from aime_agent.symbolic.vocabulary import ID, is_variable

Unit = tuple[int, ...]
"""Quarters of the exponents of m, s, kg, K, mol, A, cd."""

BASE = ("m", "s", "kg", "K", "mol", "A", "cd")
QUARTERS = 4
DIMENSIONLESS: Unit = (0,) * len(BASE)
_DERIVED = {
    "1": "", "rad": "", "Hz": "1/s", "N": "kg*m/s^2", "J": "kg*m^2/s^2", "W": "kg*m^2/s^3",
    "Pa": "kg/m/s^2", "C": "A*s", "V": "kg*m^2/s^3/A", "F": "A^2*s^4/kg/m^2", "T": "kg/s^2/A",
}  # fmt: skip
_FACTOR = re.compile(r"([*/]?)\s*([A-Za-z]+|1)(?:\^(-?\d+))?\s*")
_SAME = frozenset(ID[name] for name in ("neg", "abs"))
_DIMENSIONLESS_ONLY = frozenset(ID[name] for name in ("exp", "log", "sin", "cos", "tanh"))
_ADDITIVE = frozenset((ID["add"], ID["sub"]))
_POWERS = {ID["inverse"]: -4, ID["square"]: 8, ID["cube"]: 12, ID["sqrt"]: 2}
"""Exponent of the child, in quarters."""


def parse_unit(text: str) -> Unit:
    """Reads ``kg*m^2/s^2``; ``/`` divides by the next factor only; "" and ``1`` are plain numbers.

    Raises:
        ConfigError: a factor is no unit.
    """
    total, position = DIMENSIONLESS, 0
    stripped = text.strip()
    while position < len(stripped):
        found = _FACTOR.match(stripped, position)
        if found is None or bool(found[1]) == (position == 0):
            raise ConfigError(f"unit {text!r} cannot be read from {stripped[position:]!r} on")
        exponent = int(found[3] or 1) * (-1 if found[1] == "/" else 1)
        total = multiply(total, tuple(exponent * e for e in _factor(found[2], text)))
        position = found.end()
    return total


def _factor(name: str, text: str) -> Unit:
    if name in BASE:
        return tuple(QUARTERS * (name == base) for base in BASE)
    if name not in _DERIVED:
        known = [*BASE, *_DERIVED]
        raise ConfigError(f"unit {text!r}: no unit is named {name!r}. {nearest(name, known)}")
    return parse_unit(_DERIVED[name])


def multiply(a: Unit, b: Unit) -> Unit:
    """Returns the unit of a product."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def divide(a: Unit, b: Unit) -> Unit:
    """Returns the unit of a quotient."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


def format_unit(unit: Unit) -> str:
    """Returns the notation that `parse_unit` reads; ``1`` for a plain number."""
    above = [_raised(base, e) for base, e in zip(BASE, unit, strict=True) if e > 0]
    below = [_raised(base, -e) for base, e in zip(BASE, unit, strict=True) if e < 0]
    return "/".join(["*".join(above) or "1", *below])


def _raised(base: str, quarters: int) -> str:
    if quarters == QUARTERS:
        return base
    whole, rest = divmod(quarters, QUARTERS)
    return f"{base}^{whole}" if rest == 0 else f"{base}^({quarters}/{QUARTERS})"


def combined(token: int, children: Sequence[Unit]) -> Unit | None:
    """Returns the unit of an operator over its children's, None where they do not fit.

    Whatever stands where a number must stand (the argument of sin) has to be dimensionless.
    """
    if token in _ADDITIVE:
        return children[0] if children[0] == children[1] else None
    if token == ID["mul"]:
        return multiply(children[0], children[1])
    if token == ID["div"]:
        return divide(children[0], children[1])
    if token in _SAME:
        return children[0]
    if token in _DIMENSIONLESS_ONLY:
        return DIMENSIONLESS if children[0] == DIMENSIONLESS else None
    raised = [e * _POWERS[token] for e in children[0]]
    return None if any(e % QUARTERS for e in raised) else tuple(e // QUARTERS for e in raised)


def unit_of(tokens: Sequence[int], variables: Sequence[Unit]) -> Unit | None:
    """Returns the unit of a complete expression, None if its units do not fit together.

    Numbers and fitted constants are dimensionless.
    """
    stack: list[Unit] = []
    for token in reversed(tokens):
        if is_variable(token):
            stack.append(variables[token])
        elif token in _POWERS or token in _SAME or token in _DIMENSIONLESS_ONLY:
            unit = combined(token, [stack.pop()])
            if unit is None:
                return None
            stack.append(unit)
        elif token in _ADDITIVE or token in (ID["mul"], ID["div"]):
            left = stack.pop()
            unit = combined(token, [left, stack.pop()])
            if unit is None:
                return None
            stack.append(unit)
        else:
            stack.append(DIMENSIONLESS)
    return stack.pop()
