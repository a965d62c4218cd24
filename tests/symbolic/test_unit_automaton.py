"""The automaton promises sizes: they are compared with all trees, listed one by one."""

from itertools import product

import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic.tree import missing
from aime_agent.symbolic.unit_automaton import UnitAutomaton
from aime_agent.symbolic.units import parse_unit, unit_of
from aime_agent.symbolic.vocabulary import ID, library_ids

NAMES = ("mul", "div", "add", "square", "sin", "1")
UNITS = [parse_unit("m"), parse_unit("s")]
ALPHABET = [ID["x0"], ID["x1"], *sorted(library_ids(NAMES))]


def all_trees(size):
    for tokens in product(ALPHABET, repeat=size):
        opened = 1
        for token in tokens:
            if opened == 0:
                break
            opened += {14: 1, 16: 1, 17: 1, ID["square"]: 0, ID["sin"]: 0}.get(token, -1)
        else:
            if opened == 0:
                yield tokens


@pytest.fixture(scope="module")
def trees():
    return [tokens for size in range(1, 6) for tokens in all_trees(size)]


@pytest.mark.parametrize("target", ["m/s", "m^2", "m", "1/s", "s^2/m"])
def test_smallest_completions_are_those_of_all_trees(trees, target):
    automaton = UnitAutomaton(library_ids(NAMES), UNITS, parse_unit(target))
    right = [t for t in trees if unit_of(t, UNITS) == parse_unit(target)]
    for token in ALPHABET:
        smallest = min((len(t) for t in right if t[0] == token), default=None)
        promised = automaton.needed(automaton.start)[token]
        assert promised == smallest or (smallest is None and promised > 5)


def test_second_child_is_what_the_first_leaves():
    automaton = UnitAutomaton(library_ids(NAMES), UNITS, parse_unit("m/s"))
    first = automaton.first_child(automaton.start, ID["div"])
    assert automaton.required(first) is None
    second = automaton.second_child(automaton.start, ID["div"], automaton.leaf_unit(ID["x0"]))
    assert automaton.required(second) == parse_unit("s")
    assert missing((ID["div"], ID["x0"])) == 1


def test_a_unit_that_nothing_has_is_refused():
    with pytest.raises(ConfigError, match=r"no expression.*unit kg"):
        UnitAutomaton(library_ids(NAMES), UNITS, parse_unit("kg"))
