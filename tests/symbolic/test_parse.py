"""Formulas to tokens: values agree with Python's own, and nothing is executed."""

import math

import numpy as np
import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.vocabulary import CONST, KOZA, NUMBER_VALUES, PHYSICS

LIBRARY = (*PHYSICS, "const")
FORMULAS = [
    "x**3 - 2*x*y + 7",
    "sqrt(x)*exp(-y)/(3*pi)",
    "sin(x*y)**2 + cos(x)**5",
    "x**y + log(x)",
    "(x + y)**4 - 12/x",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_values_are_those_of_python(text):
    law = parse(text, ["x", "y"], LIBRARY)
    names = {"sqrt": np.sqrt, "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos}
    x, y = np.array([0.3, 1.7, 2.2]), np.array([1.1, 0.4, 2.0])
    expected = eval(text, names | {"pi": math.pi, "x": x, "y": y})
    np.testing.assert_allclose(evaluate(law.tokens, np.stack([x, y]), law.constants), expected)


@pytest.mark.parametrize("text", ["sqrt(x) + 1", "x**3/2 - y", "-x + 5*y"])
def test_a_poor_library_builds_what_it_lacks(text):
    law = parse(text, ["x", "y"], KOZA)
    assert not set(law.tokens) & {CONST, *NUMBER_VALUES}
    inputs = np.array([[0.3, 2.2], [1.1, 0.4]])
    rich = parse(text, ["x", "y"], LIBRARY)
    np.testing.assert_allclose(evaluate(law.tokens, inputs), evaluate(rich.tokens, inputs))


def test_numbers_that_are_not_whole_are_constants():
    law = parse("0.25*x - 1000", ["x"], LIBRARY)
    assert law.constants == (0.25, 1000.0)
    assert law.tokens.count(CONST) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m*omga", "'omga'.*'omega'"),
        ("sinh(m)", "'sinh'.*'sin'"),
        ("m +", "no formula"),
        ("__import__('os')", "no function is named '__import__'"),
        ("m.real", "'m.real' is not part"),
        ("m[0]", "is not part"),
        ("m if m else 1", "is not part"),
        ("True", "'True' is not part"),
        ("m**13", "1 to 12, found 13"),
        ("tanh(m)", "needs 'tanh'"),
        ("1e999*m", "finite"),
    ],
)
def test_what_is_no_formula_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text, ["m", "omega"], LIBRARY)


def test_more_variables_than_the_vocabulary_holds():
    with pytest.raises(ConfigError, match=r"at most 10 variables.*found 11"):
        parse("a0", [f"a{i}" for i in range(11)], LIBRARY)
