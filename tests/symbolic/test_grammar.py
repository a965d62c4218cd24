"""Drafts: every path through the mask ends in a complete, legal law."""

import numpy as np
import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic.catalogue import TASKS, find_task
from aime_agent.symbolic.grammar import Grammar
from aime_agent.symbolic.tree import missing
from aime_agent.symbolic.units import parse_unit, unit_of
from aime_agent.symbolic.vocabulary import CONST, ID, KOZA, NUM_TOKENS, PHYSICS, is_variable


def random_law(grammar, rng, weights=None):
    draft = grammar.begin()
    while not draft.complete:
        mask, prior = draft.options()
        assert mask.any()
        p = prior if weights is None else mask / mask.sum()
        draft.place(int(rng.choice(NUM_TOKENS, p=p)))
    return draft.finished


@pytest.mark.parametrize("max_nodes", [1, 2, 3, 7, 30])
def test_every_draft_ends_complete_within_the_limit(max_nodes):
    grammar, rng = Grammar((*PHYSICS, "const"), 3, max_nodes), np.random.default_rng(0)
    for _ in range(100):
        law = random_law(grammar, rng, weights="uniform")
        assert missing(law) == 0
        assert len(law) <= max_nodes
        assert any(map(is_variable, law))
        assert law.count(CONST) <= 3


@pytest.mark.parametrize("name", ["kepler_orbit", "ideal_gas", "pendulum_energy", "feynman_I.6.2a"])
def test_with_units_every_draft_has_the_targets_unit(name):
    task, rng = find_task(name), np.random.default_rng(0)
    grammar = task.grammar()
    for weights in (None, "uniform"):
        for _ in range(60):
            law = random_law(grammar, rng, weights)
            assert unit_of(law, task.input_units) == parse_unit(task.unit)
            assert len(law) <= task.max_nodes


def test_prior_is_a_distribution_over_the_mask():
    for grammar in (Grammar(KOZA, 2), find_task("kepler_orbit").grammar()):
        mask, prior = grammar.begin().options()
        assert prior.sum() == pytest.approx(1.0)
        assert ((prior > 0) == mask).all()


def test_without_units_one_child_is_expected():
    _, prior = Grammar(KOZA, 2).begin().options()
    arities = np.array([0] * 14 + [2] * 4 + [1] * 11)
    assert prior @ arities == pytest.approx(1.0)


def allowed_after(grammar, text):
    return grammar.draft_of([ID[name] for name in text.split()]).options().mask


@pytest.mark.parametrize(
    ("begun", "forbidden"),
    [
        ("sin", "sin cos"),
        ("sin add x0", "cos"),
        ("log", "exp const"),
        ("exp", "log"),
        ("neg", "neg"),
        ("add const", "const"),
        ("square", "sqrt"),
    ],
)
def test_rules_of_taste(begun, forbidden):
    mask = allowed_after(Grammar((*PHYSICS, "const"), 2), begun)
    assert not mask[[ID[name] for name in forbidden.split()]].any()
    assert mask[ID["x1"]]


def test_trig_is_allowed_again_outside():
    assert allowed_after(Grammar(PHYSICS, 2), "mul sin x0")[ID["cos"]]


def test_last_leaf_must_be_a_variable_if_there_is_none():
    mask = allowed_after(Grammar(PHYSICS, 2), "add 1")
    assert not mask[[ID["1"], ID["2"], ID["pi"]]].any()


def test_absent_variables_and_tokens_are_never_offered():
    mask = Grammar(KOZA, 2).begin().options().mask
    assert mask[:2].all()
    assert not mask[2:14].any()
    assert not mask[ID["square"]]


def test_a_token_against_the_mask_is_named():
    with pytest.raises(ConfigError, match="token 25 at position 1"):
        Grammar(PHYSICS, 1).draft_of([ID["sin"], ID["sin"]])


@pytest.mark.parametrize("count", [0, 11])
def test_number_of_variables_is_checked(count):
    with pytest.raises(ConfigError, match=f"1 to 10 variables, found {count}"):
        Grammar(KOZA, count)


@pytest.mark.parametrize("name", TASKS)
def test_every_true_law_can_be_written(name):
    task = TASKS[name]
    assert task.grammar().draft_of(task.expression.tokens).complete
