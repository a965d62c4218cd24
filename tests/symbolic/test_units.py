"""Units: notation, arithmetic, and laws with right and wrong ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aime_agent.errors import ConfigError
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.units import (
    DIMENSIONLESS,
    divide,
    format_unit,
    multiply,
    parse_unit,
    unit_of,
)
from aime_agent.symbolic.vocabulary import PHYSICS

LIBRARY = (*PHYSICS, "inverse", "const")
exponents = st.tuples(*[st.integers(-3, 3).map(lambda e: 4 * e)] * 7)


def test_derived_units_are_those_of_the_si():
    assert parse_unit("N") == parse_unit("kg*m/s^2")
    assert parse_unit("J") == multiply(parse_unit("N"), parse_unit("m"))
    assert parse_unit("Pa") == divide(parse_unit("N"), parse_unit("m^2"))
    assert parse_unit("V") == divide(parse_unit("J"), parse_unit("C"))
    assert parse_unit("F") == divide(parse_unit("C"), parse_unit("V"))
    assert parse_unit("N*m/C/T") == multiply(parse_unit("m/s"), parse_unit("m"))
    assert parse_unit("") == parse_unit("rad") == parse_unit("1") == DIMENSIONLESS
    assert parse_unit("m/s^2") == (4, -8, 0, 0, 0, 0, 0)


@settings(deadline=None)
@given(exponents)
def test_notation_is_read_back(unit):
    assert parse_unit(format_unit(unit)) == unit


@pytest.mark.parametrize(
    ("law", "unit"),
    [
        ("m*v**2/2", "J"),
        ("sqrt(k/m)", "1/s"),
        ("sin(x/x)*x", "m"),
        ("k*x - m*v**2/x", "N"),
        ("1/(1/x + 2/x)", "m"),
        ("m*v**2 + k*x", None),
        ("sin(x)", None),
        ("exp(v)*m", None),
        ("x + 1", None),
    ],
)
def test_units_of_laws_by_hand(law, unit):
    variables = {"x": "m", "v": "m/s", "m": "kg", "k": "N/m"}
    tokens = parse(law, list(variables), LIBRARY).tokens
    found = unit_of(tokens, [parse_unit(u) for u in variables.values()])
    assert found == (None if unit is None else parse_unit(unit))


@pytest.mark.parametrize(
    ("text", "message"), [("kg*zz", "'zz'"), ("m^", "from"), ("*m", "from"), ("m s", "from 's'")]
)
def test_unreadable_units_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_unit(text)
