"""Reward by hand, and what does not count."""

import numpy as np
import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.score import Scorer, nrmse, reward_of
from aime_agent.symbolic.vocabulary import ID, PHYSICS

ROWS = Samples(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([2.0, 4.0, 6.0, 8.0]))


def scorer(**changes):
    return Scorer(ROWS, 10, np.random.default_rng(0), **changes)


def test_reward_by_hand():
    score = scorer()((ID["x0"],))
    # x against 2x: rms of (1, 2, 3, 4) is sqrt(7.5), the target's spread is sqrt(5).
    assert score.nrmse == pytest.approx(np.sqrt(7.5 / 5))
    assert score.reward == pytest.approx(1 / (1 + np.sqrt(1.5)) - 0.01 / 10)


def test_the_true_law_has_full_reward_but_for_its_size():
    assert scorer()((ID["add"], ID["x0"], ID["x0"])).reward == pytest.approx(1 - 0.01 * 3 / 10)
    assert scorer(complexity_cost=0.0)((ID["add"], ID["x0"], ID["x0"])).reward == 1.0


def test_constants_are_fitted():
    score = scorer()(parse("5.5*x", ["x"], (*PHYSICS, "const")).tokens)
    assert score.expression.constants == pytest.approx((2.0,))
    assert score.nrmse < 1e-12


@pytest.mark.parametrize("law", ["log(x - x)", "exp(exp(exp(x)))", "sqrt(-x)"])
def test_what_is_not_finite_is_worth_nothing(law):
    score = scorer()(parse(law, ["x"], PHYSICS).tokens)
    assert (score.reward, score.nrmse) == (0.0, np.inf)


def test_reward_is_never_negative():
    assert reward_of(1e9, 10, 10) == 0.0
    assert nrmse(np.array([np.nan, 1.0]), np.array([0.0, 1.0])) == np.inf


def test_each_law_is_scored_once():
    score = scorer()
    assert score((ID["x0"],)) is score((ID["x0"],))
    assert score.distinct == 1


def test_cost_is_checked():
    with pytest.raises(ConfigError, match=r"complexity_cost.*found 1"):
        scorer(complexity_cost=1.0)
