"""Fitted numbers are found again, and simple ones are recognised."""

import math

import numpy as np
import pytest

from aime_agent.symbolic.constants import Exact, fit_constants, snap
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.vocabulary import PHYSICS

LIBRARY = (*PHYSICS, "const")


def rows(law, constants=None):
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 60))
    return Samples(x, evaluate(law.tokens, x, law.constants if constants is None else constants))


@pytest.mark.parametrize(
    ("text", "affine"),
    [
        ("2.5*x - 0.75*y", True),
        ("1.25*(x + 0.3*y)", False),
        ("3.5*exp(-0.7*x) + 0.2*y", False),
        ("sin(1.9*x)/(0.4 + y)", False),
    ],
)
def test_constants_are_found_again(text, affine):
    law = parse(text, ["x", "y"], LIBRARY)
    fit = fit_constants(law.tokens, rows(law), np.random.default_rng(1))
    found = evaluate(law.tokens, rows(law).inputs, fit.constants)
    np.testing.assert_allclose(found, rows(law).target, rtol=1e-6)
    assert (fit.calls <= 5) == affine


def test_fit_is_the_least_squares_line():
    law = parse("1.5*x + 0.5", ["x"], LIBRARY)
    x = np.array([[0.0, 1.0, 2.0, 3.0]])
    fit = fit_constants(
        law.tokens, Samples(x, np.array([0.0, 2.0, 1.0, 3.0])), np.random.default_rng(0)
    )
    assert fit.constants == pytest.approx((0.8, 0.3))


def test_no_constants_cost_nothing():
    law = parse("x*y", ["x", "y"], LIBRARY)
    assert fit_constants(law.tokens, rows(law), np.random.default_rng(0)) == ((), 0)


def test_an_expression_that_is_nowhere_finite_is_survived():
    law = parse("log(x - x)*exp(0.5*y)", ["x", "y"], LIBRARY)
    data = Samples(np.ones((2, 4)), np.arange(4.0))
    assert fit_constants(law.tokens, data, np.random.default_rng(0)).constants == (1.0,)


@pytest.mark.parametrize(
    "exact",
    [
        Exact(1, 2),
        Exact(-10, 3),
        Exact(4905, 251),
        Exact(1, 4, -1),
        Exact(4, 1, 2),
        Exact(1, 2, -1, root=True),
        Exact(-2, 1, 0, root=True),
        Exact(0, 1),
    ],
)
def test_simple_numbers_are_recognised(exact):
    assert snap(exact.value * (1 + 1e-12)) == exact


def test_small_numbers_come_before_large_fractions():
    """10975/278 lies within 10⁻⁸ of 4π²."""
    assert abs(10975 / 278 / (4 * math.pi**2) - 1) < 1e-8
    assert snap(4 * math.pi**2 * (1 + 1e-10), 1e-8) == Exact(4, 1, 2)
    assert snap(10975 / 278 * (1 + 1e-10), 1e-9) is None


def test_values_by_hand():
    assert Exact(1, 2, -1, root=True).value == pytest.approx(1 / math.sqrt(2 * math.pi))
    assert Exact(-4, 1, 2).value == pytest.approx(-4 * math.pi**2)


def test_most_numbers_are_not_simple():
    values = np.random.default_rng(0).uniform(0.1, 10, 2000).tolist()
    assert sum(snap(v) is not None for v in values) <= 10
    assert snap(float("nan")) is None
