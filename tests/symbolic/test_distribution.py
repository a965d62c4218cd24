"""Draws fulfil what is asked; made-up tasks are new."""

from dataclasses import replace

import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic import PhysicsTaskDistribution, find_task, parse
from aime_agent.symbolic.catalogue import TASKS
from aime_agent.symbolic.generated import fingerprint, generate_tasks
from aime_agent.symbolic.vocabulary import PHYSICS

LIBRARY = (*PHYSICS, "const")


def test_the_seeds_call_and_names():
    tasks = PhysicsTaskDistribution(include_noise=True)
    assert tasks.get_task_by_name("harmonic_oscillator").target == "E"
    assert tasks.get_task_by_name("nguyen_1").suite == "nguyen"
    assert tasks.include_noise
    described = tasks.describe_task_distribution()
    assert described["num_tasks"] == len(tasks.tasks) == 14
    assert described["domains"]["thermodynamics"] == 1
    assert set(tasks.task_families) == {
        "mechanics",
        "thermodynamics",
        "electromagnetism",
        "control",
    }


def test_draws_fulfil_what_is_asked():
    tasks = PhysicsTaskDistribution(seed=1)
    for _ in range(20):
        task = tasks.sample_task((0.2, 0.4), "mechanics", "time translation")
        assert task.difficulty <= 0.4
        assert "time translation" in task.symmetries
    with pytest.raises(ConfigError, match=r"no task has difficulty.*domains are"):
        tasks.sample_task(domain="optics")


def test_batches_go_from_easy_to_hard_and_round_the_fields():
    tasks = PhysicsTaskDistribution(seed=1)
    batch = tasks.sample_task_batch(8)
    assert all(abs(t.difficulty - (0.2 + 0.6 * i / 7)) <= 0.16 for i, t in enumerate(batch))
    fields = [t.domain for t in tasks.sample_task_batch(4, balanced_domains=True)]
    assert len(set(fields)) == 4


def test_the_same_seed_draws_the_same():
    first, second = PhysicsTaskDistribution(seed=5), PhysicsTaskDistribution(seed=5)
    assert [first.sample_task().name for _ in range(9)] == [
        second.sample_task().name for _ in range(9)
    ]


def test_related_tasks_share_something():
    tasks = PhysicsTaskDistribution()
    related = tasks.get_related_tasks(find_task("pendulum_nonlinear"), 2)
    assert related[0].name == "pendulum_small_angle"
    assert len(related) == 2


def test_empty_or_doubled_distributions_are_refused():
    with pytest.raises(ConfigError, match="at least one task"):
        PhysicsTaskDistribution(tasks=[])
    with pytest.raises(ConfigError, match="'kepler_orbit' twice"):
        PhysicsTaskDistribution(tasks=[find_task("kepler")] * 2)


def same(a, b, names="xyz"):
    return fingerprint(parse(a, list(names), LIBRARY)) == fingerprint(
        parse(b, list(names), LIBRARY)
    )


def test_fingerprint_forgets_names_and_factors_only():
    assert same("x*y**2", "3*y*z**2")
    assert same("x/y", "pi*z/x")
    assert same("x + x*y", "x*(1 + y)")
    assert not same("x*y**2", "x*y")
    assert not same("sin(x)", "cos(x)")
    assert fingerprint(parse("x - x", ["x"], LIBRARY)) is None


def test_generated_tasks_are_new_different_and_valid():
    tasks = generate_tasks(24, seed=3)
    prints = [fingerprint(task.expression) for task in tasks]
    known = {fingerprint(task.expression) for task in TASKS.values()}
    assert len(set(prints)) == 24
    assert not known & set(prints)
    assert sum(task.use_units for task in tasks) > 8
    for task in tasks:
        assert task.grammar().draft_of(task.expression.tokens).complete


def test_a_known_law_is_never_generated():
    first = generate_tasks(10, seed=0)
    renamed = replace(first[4], name="held out")
    assert first[4].law not in [task.law for task in generate_tasks(10, seed=0, avoid=[renamed])]


def test_generation_repeats_and_refuses():
    assert [t.law for t in generate_tasks(5, 1)] == [t.law for t in generate_tasks(5, 1)]
    with pytest.raises(ConfigError, match="count must be at least 1"):
        generate_tasks(0)
