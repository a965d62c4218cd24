"""Scores over runs and tasks, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from aime_agent.errors import ShapeError
from aime_agent.functional import statistics as s


def rng(seed=0):
    return np.random.default_rng(seed)


def mean(x):
    return x.mean(-1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 30, 101])
def test_iqm_equals_the_trimmed_mean(count):
    x = rng().normal(size=count)
    assert s.interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25), abs=1e-14)


def test_iqm_of_many_rows_is_that_of_each():
    x = rng().normal(size=(5, 3, 20))
    rows = [stats.trim_mean(row, 0.25) for row in x.reshape(15, 20)]
    np.testing.assert_allclose(s.interquartile_mean(x).ravel(), rows)


def test_outliers_move_the_mean_and_not_the_iqm():
    x = rng().normal(size=20)
    far = np.where(x == x.max(), 1e9, x)
    assert s.interquartile_mean(far) == s.interquartile_mean(x)
    assert far.mean() > 1e7


def test_gap_counts_only_what_is_missing():
    assert s.optimality_gap(np.array([0.5, 2.0, 1.0])) == pytest.approx(0.5 / 3)
    assert s.optimality_gap(np.array([0.5, 2.0, 1.0]), 2.0) == pytest.approx(2.5 / 3)


def test_profile_by_hand_weighs_tasks_alike():
    scores = [np.array([0.2, 0.8]), np.array([0.9, 0.9, 0.1, 0.9])]
    found = s.performance_profile(scores, np.array([0.0, 0.15, 0.5, 0.9]))
    np.testing.assert_allclose(found, [1.0, 0.875, 0.625, 0.0])


def test_constant_scores_have_an_interval_of_width_zero():
    scores = [np.full(4, 0.25), np.full(3, 0.75)]
    assert s.bootstrap(scores, rng(), mean) == pytest.approx((3.25 / 7, 3.25 / 7, 3.25 / 7))


def test_bootstrap_is_stratified():
    scores = [rng(1).normal(k * 100.0, 1.0, size=10) for k in range(3)]
    pooled = [np.concatenate(scores)]
    inside, across = (s.bootstrap(x, rng(), mean) for x in (scores, pooled))
    assert inside.value == pytest.approx(across.value)
    assert across.high - across.low > 20 * (inside.high - inside.low)


def test_interval_agrees_with_scipy():
    x = rng(2).exponential(size=40)
    ours = s.bootstrap([x], rng(), draws=20_000)
    theirs = stats.bootstrap(
        (x,),
        lambda v, axis: stats.trim_mean(v, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(stats.trim_mean(x, 0.25))
    np.testing.assert_allclose(ours[1:], theirs, atol=0.01)


def test_interval_covers_as_often_as_it_says():
    draws = rng(3).normal(size=(300, 2, 15))
    found = [s.bootstrap(list(x), rng(4), mean, draws=300) for x in draws]
    assert 0.88 < np.mean([e.low < 0 < e.high for e in found]) < 0.98


def test_seed_decides_and_the_global_generator_is_left_alone():
    x = [rng().normal(size=9)]
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert s.bootstrap(x, rng(5)) == s.bootstrap(x, rng(5)) != s.bootstrap(x, rng(6))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_draws_and_level_act_whatever_fits_into_memory(monkeypatch):
    x = [rng().normal(size=9)]
    sizes = []

    def seen(values):
        sizes.append(values.shape[:-1])
        return values.mean(-1)

    monkeypatch.setattr(s, "AT_ONCE", 90)
    wide = s.bootstrap(x, rng(), seen, draws=25)
    assert sizes == [(10,), (10,), (5,), ()]
    narrow = s.bootstrap(x, rng(), mean, draws=25, level=0.5)
    assert narrow.high - narrow.low < wide.high - wide.low


def test_improvement_is_the_mann_whitney_statistic():
    x, y = rng(1).integers(0, 5, 12).astype(float), rng(2).integers(0, 6, 9).astype(float)
    u = stats.mannwhitneyu(x, y).statistic
    assert s.improvement(x, y) == pytest.approx(u / (12 * 9))


def test_improvement_of_equals_is_one_half_and_of_better_is_one():
    scores = [rng(k).normal(size=5) for k in range(3)]
    assert s.probability_of_improvement(scores, scores, rng()).value == pytest.approx(0.5)
    better = [task + 10 for task in scores]
    assert s.probability_of_improvement(better, scores, rng()) == (1.0, 1.0, 1.0)


def test_improvement_averages_tasks():
    x, y = [np.array([1.0]), np.array([0.0, 0.0])], [np.array([0.0]), np.array([0.0, 1.0])]
    assert s.probability_of_improvement(x, y, rng()).value == pytest.approx((1 + 0.25) / 2)


@pytest.mark.parametrize("scores", [[], [np.zeros(0)], [np.zeros((2, 3))]])
def test_scores_without_runs_are_refused(scores):
    with pytest.raises(ShapeError, match="one non-empty array of runs per task"):
        s.checked(scores)


def test_comparing_different_tasks_is_refused():
    with pytest.raises(ShapeError, match="the same tasks required on both sides, found 2, 1"):
        s.probability_of_improvement([np.ones(2)] * 2, [np.ones(2)], rng())
