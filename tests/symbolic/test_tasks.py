"""Tasks: drawn rows obey the law; wrong definitions are refused with what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from aime_agent.errors import ConfigError, DataError
from aime_agent.symbolic.catalogue import ALIASES, SUITES, TASKS, find_suite, find_task
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.tasks import PhysicsTask, Variable, task_from_data

OSCILLATOR = find_task("harmonic_oscillator")


def test_suites_have_their_sizes():
    sizes = {name: len(suite) for name, suite in SUITES.items()}
    assert sizes == {"laws": 12, "dmc": 2, "feynman": 16, "nguyen": 13}
    assert len(TASKS) == 43


@pytest.mark.parametrize("alias", ALIASES)
def test_names_of_the_seed_lead_to_tasks(alias):
    assert find_task(alias) is TASKS[ALIASES[alias]]


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'harmonic_oscilator'.*'harmonic_oscillator'"):
        find_task("harmonic_oscilator")
    with pytest.raises(ConfigError, match=r"'nguyn'.*'nguyen'"):
        find_suite("nguyn")


def test_rows_obey_the_law_within_the_ranges():
    x, v, k, m = OSCILLATOR.generate_data(50).inputs
    np.testing.assert_allclose(OSCILLATOR.generate_data(50).target, m * v**2 / 2 + k * x**2 / 2)
    assert np.abs(x).max() <= 2
    assert k.min() >= 0.5
    assert k.max() <= 3


def test_noise_is_relative_to_the_spread_and_on_the_target_alone():
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    clean = OSCILLATOR.generate_data(4000, rng=rng)
    noisy = OSCILLATOR.generate_data(4000, noise=True, rng=again)
    np.testing.assert_array_equal(clean.inputs, noisy.inputs)
    spread = (noisy.target - clean.target).std() / clean.target.std()
    assert spread == pytest.approx(0.01, rel=0.05)


def test_outside_is_outside_and_keeps_signs():
    task = find_task("kepler_orbit")
    rows = task.generate_data(200, region="outside").inputs
    ranges = np.array([[v.low, v.high] for v in task.inputs])
    inside = (rows >= ranges[:, :1]) & (rows <= ranges[:, 1:])
    assert not inside.all(axis=0).any()
    assert (rows > 0).all()


def test_rows_are_redrawn_where_a_law_is_not_defined():
    task = replace(find_task("nguyen_8"), inputs=(Variable("x", -1.0, 1.0),))
    assert np.isfinite(task.generate_data(100).target).all()
    nowhere = replace(find_task("nguyen_8"), inputs=(Variable("x", -2.0, -1.0),))
    with pytest.raises(DataError, match="not defined"):
        nowhere.generate_data()


def test_names_and_ranges_as_the_seeds_library_has_them():
    assert OSCILLATOR.variables == ["x", "v", "k", "m", "E"]
    assert OSCILLATOR.variable_ranges["m"] == (0.5, 2.0)
    assert OSCILLATOR.true_law == "m*v**2/2 + k*x**2/2"


def test_repaired_laws_have_targets_that_vary():
    for task in SUITES["laws"]:
        assert task.generate_data().target.std() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "m*v + k*x**2/2"}, "no unit that fits"),
        ({"law": "m*v"}, r"has unit m\*kg/s, but the target 'E' has unit J"),
        ({"law": "m*w"}, "'w'"),
        ({"law": None}, "needs a law or data"),
        ({"inputs": ()}, "at least one variable, found none"),
        ({"inputs": tuple(Variable(f"a{i}", 0, 1) for i in range(11))}, "found 11"),
        ({"inputs": (Variable("x", 0, 1),) * 2}, "names must differ"),
        ({"inputs": (Variable("x", 1, 1),)}, "range of 'x' must not be empty"),
        ({"inputs": (Variable("sin", 0, 1),)}, "'sin' names a token"),
        ({"inputs": (Variable("x", 0, 1, "furlong"),)}, "'furlong'"),
        ({"library": ("add", "plus")}, "'plus'"),
    ],
)
def test_wrong_tasks_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(OSCILLATOR, **change)


def test_units_of_a_task_without_any_are_refused():
    with pytest.raises(ConfigError, match="has no units"):
        find_task("nguyen_1").grammar(units=True)


def test_own_data_become_a_task():
    rows = Samples(np.array([[1.0, 2.0, 3.0]]), np.array([2.0, 4.0, 6.0]))
    task = task_from_data(["x", "y"], rows)
    assert task.generate_data(99) is rows
    with pytest.raises(DataError, match="finite, found nan"):
        task_from_data(["x", "y"], Samples(rows.inputs * np.nan, rows.target))
    with pytest.raises(DataError, match="at least 2 rows"):
        PhysicsTask(
            name="one", law=None, inputs=(Variable("x", 0, 1),), target="y",
            data=Samples(rows.inputs[:, :1], rows.target[:1]),
        )  # fmt: skip
