"""Rewritings are accepted, near misses refused, and algebra that hangs is ended."""

from dataclasses import replace

import numpy as np
import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic import sympy_worker
from aime_agent.symbolic.catalogue import TASKS, find_task
from aime_agent.symbolic.equivalence import Algebra, AlgebraError, How, recognise
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.score import Scorer
from aime_agent.symbolic.tasks import Variable, task_from_data
from aime_agent.symbolic.tree import Expression

LIBRARY = (*TASKS["kepler_orbit"].library, "inverse", "abs")


@pytest.fixture(scope="module")
def algebra():
    with Algebra(time_limit=60.0) as running:
        yield running


def verdict(algebra, task, text):
    return recognise(task, parse(text, task.names, LIBRARY), algebra)


@pytest.mark.parametrize("name", TASKS)
def test_gate_zero_the_true_law_is_recognised_as_exact(algebra, name):
    """Its constants are fitted to the data first, as in a search."""
    task = TASKS[name]
    score = Scorer(task.generate_data(), task.max_nodes, np.random.default_rng(0))(
        task.expression.tokens
    )
    assert score.nrmse < 1e-9
    assert score.reward >= 0.99
    assert recognise(task, score.expression, algebra) == (True, How.ALGEBRA)


ENERGY = [
    ("(m*v**2 + k*x**2)/2", True),
    ("0.5*m*v*v + k*x*x/2", True),
    ("m/2*(v**2 + k*x**2/m)", True),
    ("m*v**2*(sin(x)**2 + cos(x)**2)/2 + k*x**2/2", True),
    ("m*(v/sqrt(2))**2 + 1/(2/(k*x**2))", True),
    ("m*v**2/2 + k*x**2/2 + 0.0001*x**2*k", False),
    ("m*v**2/2 + k*x**2", False),
    ("m*v**2/2 + k*abs(x)**3/(2*abs(x) + x/x - 1 + 0.001)", False),
    ("m*v*sqrt(v**2)/2 + k*x**2/2", False),
    ("0.49999*m*v**2 + k*x**2/2", False),
]


@pytest.mark.parametrize(("law", "same"), ENERGY)
def test_five_rewritings_and_five_near_misses(algebra, law, same):
    task = find_task("harmonic_oscillator")
    found = verdict(algebra, task, law)
    assert found.equal is same
    assert found.how is (How.ALGEBRA if same else How.REFUTED)


def test_signs_of_variables_decide(algebra):
    """√r² is r where r is positive, and not where it is not."""
    task = find_task("kepler_orbit")
    assert verdict(algebra, task, "G*M/sqrt((r**2)**2)").equal
    both = replace(task, inputs=(Variable("r", -2.0, 2.0, "m"), *task.inputs[1:]))
    assert not verdict(algebra, both, "G*M/(r*sqrt(r**2))").equal


def test_constants_that_are_no_simple_numbers_are_compared_as_numbers(algebra):
    task = replace(find_task("dmc_point_mass_accel"), law="0.73891*u - 2.71828*v")
    assert verdict(algebra, task, "0.7389100001*u - 2.71828*v") == (True, How.NUMBERS)
    assert not verdict(algebra, task, "0.739*u - 2.71828*v").equal


def test_simplest_form_is_text(algebra):
    law = parse("(x0**2 - x1**2)/(x0 - x1)", ["x0", "x1"], LIBRARY)
    assert algebra.simplified(law, [True, True]) == "x0 + x1"


def test_names_that_sympy_captures_are_harmless(algebra):
    task = replace(
        find_task("feynman_I.12.1"),
        law="E*S",
        inputs=(Variable("E", 1, 5), Variable("S", 1, 5, "N")),
    )
    assert verdict(algebra, task, "S*E").equal


def test_algebra_that_hangs_is_ended_and_the_next_question_answered(monkeypatch):
    laws = [Expression((0,)), Expression((0,))]
    hanging = ["-c", "import sys, time; print(0, flush=True); [time.sleep(60) for _ in sys.stdin]"]
    with Algebra(time_limit=0.5) as short:
        with monkeypatch.context() as patch:
            patch.setattr("aime_agent.symbolic.equivalence.WORKER", hanging)
            assert short.equal(*laws, [True]).how is How.UNDECIDED
        monkeypatch.setattr(short, "_limit", 60.0)
        assert short.equal(*laws, [True]) == (True, How.ALGEBRA)


def test_a_process_that_does_not_start_is_an_error(monkeypatch):
    monkeypatch.setattr("aime_agent.symbolic.equivalence.WORKER", ["-c", "input()"])
    monkeypatch.setattr("aime_agent.symbolic.equivalence.START_LIMIT", 0.5)
    with Algebra() as silent, pytest.raises(AlgebraError, match=r"did not start in 0\.5 s"):
        silent.simplified(Expression((0,)), [True])


def test_trouble_is_an_answer():
    (reply,) = sympy_worker.replies(
        ['{"verb": "simplify", "positive": [true], "a": {"tokens": 3}}']
    )
    assert "trouble" in reply


def test_bad_requests_are_refused(algebra):
    task = task_from_data(["x", "y"], find_task("nguyen_1").generate_data())
    with pytest.raises(ConfigError, match="no law to compare"):
        recognise(task, Expression((0,)), algebra)
    with pytest.raises(ConfigError, match=r"time_limit.*found 0"):
        Algebra(time_limit=0)
