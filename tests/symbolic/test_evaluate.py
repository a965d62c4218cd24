"""Every operator by hand; errors of arithmetic become nan or inf and never a warning."""

import math

import numpy as np
import pytest

from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.vocabulary import ARITY, ID, VOCABULARY

X = np.array([[0.5, 2.0], [4.0, -1.0]])
BY_HAND = {
    "add": (4.5, 1.0), "sub": (-3.5, 3.0), "mul": (2.0, -2.0), "div": (0.125, -2.0),
    "neg": (-0.5, -2.0), "inverse": (2.0, 0.5), "square": (0.25, 4.0), "cube": (0.125, 8.0),
    "sqrt": (math.sqrt(0.5), math.sqrt(2)), "exp": (math.exp(0.5), math.exp(2)),
    "log": (math.log(0.5), math.log(2)), "sin": (math.sin(0.5), math.sin(2)),
    "cos": (math.cos(0.5), math.cos(2)), "tanh": (math.tanh(0.5), math.tanh(2)), "abs": (0.5, 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", [t.name for t in VOCABULARY if t.arity])
def test_operator_by_hand(name):
    children = (ID["x0"], ID["x1"])[: ARITY[ID[name]]]
    np.testing.assert_allclose(evaluate((ID[name], *children), X), BY_HAND[name], rtol=1e-15)


def test_constants_are_taken_from_left_to_right():
    law = tuple(ID[n] for n in ["sub", "mul", "const", "x0", "div", "const", "x1"])
    np.testing.assert_allclose(evaluate(law, X, (3.0, 8.0)), [-0.5, 14.0])


def test_numbers_fill_all_rows():
    np.testing.assert_array_equal(evaluate((ID["pi"],), X), [math.pi, math.pi])


def test_nothing_is_protected():
    law = tuple(ID[n] for n in ["log", "sub", "x0", "x0"])
    assert np.isneginf(evaluate(law, X)).all()
    assert np.isnan(evaluate((ID["sqrt"], ID["x1"]), X)[1])
    assert np.isinf(evaluate((ID["exp"], ID["exp"], ID["exp"], ID["x1"]), X)[0])
