"""Prefix trees: structure, notation, and what is refused."""

import pytest

from aime_agent.errors import DataError
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.tree import (
    Expression,
    check_complete,
    depths,
    draw_ascii,
    infix,
    missing,
    num_variables,
    parents,
)
from aime_agent.symbolic.vocabulary import ID, PHYSICS

LIBRARY = (*PHYSICS, "inverse", "const")
NAMES = ["a", "b", "c"]


def tokens(text):
    return tuple(ID[name] for name in text.split())


def test_structure_by_hand():
    law = tokens("add mul x0 x1 sin x2")
    assert parents(law) == [-1, 0, 1, 1, 0, 4]
    assert depths(law) == [0, 1, 2, 2, 1, 2]
    assert num_variables(law) == 3
    assert [missing(law[:k]) for k in range(7)] == [1, 2, 3, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("prefix", "written"),
    [
        ("sub x0 sub x1 x2", "a - (b - c)"),
        ("sub sub x0 x1 x2", "a - b - c"),
        ("div x0 mul x1 x2", "a/(b*c)"),
        ("mul div x0 x1 x2", "a/b*c"),
        ("div x0 div x1 x2", "a/(b/c)"),
        ("square add x0 x1", "(a + b)^2"),
        ("square square x0", "(a^2)^2"),
        ("neg add x0 x1", "-(a + b)"),
        ("mul neg x0 x1", "(-a)*b"),
        ("inverse mul x0 x1", "1/(a*b)"),
        ("sin div x0 pi", "sin(a/pi)"),
        ("add x0", "a + …"),
        ("", "…"),
    ],
)
def test_notation_has_the_brackets_it_needs(prefix, written):
    assert infix(Expression(tokens(prefix)), NAMES) == written


@pytest.mark.parametrize("text", ["a - (b - c)", "a/(b*c)*sin(a + b)", "-(a + b)**2/2"])
def test_notation_is_read_back_as_the_same_tree(text):
    law = parse(text, NAMES, LIBRARY)
    assert parse(infix(law, NAMES).replace("^", "**"), NAMES, LIBRARY) == law


def test_constants_go_from_left_to_right():
    law = Expression(tokens("sub mul const x0 const"), (2.5, -0.5))
    assert infix(law, ["v"]) == "2.5*v - (-0.5)"
    assert "2.5" in draw_ascii(law).splitlines()[2]


def test_incomplete_trees_are_drawn():
    assert draw_ascii(Expression(tokens("add x0")), NAMES) == "add\n├─ a\n└─ …"


def test_what_is_no_tree_is_refused():
    with pytest.raises(DataError, match="complete after 1 tokens, found 2"):
        missing(tokens("x0 x1"))
    with pytest.raises(DataError, match="found 1 missing"):
        check_complete(tokens("add x0"))
    with pytest.raises(DataError, match="found 99"):
        missing((99,))
