"""Trees as pictures: every node has its disc, weights must match."""

import numpy as np
import pytest

from aime_agent.errors import ShapeError
from aime_agent.symbolic.catalogue import TASKS
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.picture import draw_tree
from aime_agent.symbolic.tree import Expression
from aime_agent.symbolic.vocabulary import ID, PHYSICS

GREEN = np.array((0, 158, 115))


def green_share(picture):
    return float((picture == GREEN).all(-1).mean())


def test_variables_are_drawn_where_they_are():
    one = draw_tree(parse("sin(x)", ["x"], PHYSICS), ["x"])
    two = draw_tree(parse("sin(x + x)", ["x"], PHYSICS), ["x"])
    assert green_share(one) > 0.001
    rows = np.flatnonzero((one == GREEN).all(-1).any(1))
    assert rows.min() > one.shape[0] // 2
    columns = np.flatnonzero((two == GREEN).all(-1).any(0))
    assert np.diff(columns).max() > 20


def test_the_heaviest_node_is_the_brightest():
    law = parse("x*y", ["x", "y"], PHYSICS)
    left = draw_tree(law, attention=np.array([0.0, 1.0, 0.1]))
    right = draw_tree(law, attention=np.array([0.0, 0.1, 1.0]))
    amber = [(picture == (255, 170, 30)).all(-1) for picture in (left, right)]
    middle = left.shape[1] // 2
    assert amber[0][:, :middle].any()
    assert not amber[0][:, middle:].any()
    assert amber[1][:, middle:].any()


@pytest.mark.parametrize("tokens", [(), (ID["add"],), (ID["add"], ID["sin"])])
def test_unfinished_trees_are_drawn(tokens):
    assert draw_tree(Expression(tokens)).shape == (480, 640, 3)


@pytest.mark.parametrize("size", [(640, 480), (200, 150)])
def test_the_longest_law_fits_into_the_picture(size):
    task = TASKS["double_pendulum_energy"]
    picture = draw_tree(task.expression, task.names, size=size)
    assert picture.shape == (size[1], size[0], 3)
    assert green_share(picture) > 0.001


def test_weights_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"3 weights.*found 2"):
        draw_tree(parse("x*y", ["x", "y"], PHYSICS), attention=np.ones(2))
