from typing import NamedTuple

import pytest
import torch

from aime_agent.errors import CheckpointError
from aime_agent.training.trees import leaves, rebuild


class Pair(NamedTuple):
    a: object
    b: object


TREE = Pair({"y": torch.ones(2), "x": torch.zeros(3)}, (None, Pair([torch.ones(1)], None)))


def test_rebuild_inverts_leaves():
    again = rebuild(TREE, [x + 1 for x in leaves(TREE)])
    assert isinstance(again.b[1], Pair)
    assert again.a["x"].tolist() == [1, 1, 1]
    assert again.b[0] is None
    assert again.b[1].a[0].tolist() == [2]


def test_other_shapes_are_named():
    with pytest.raises(CheckpointError, match=r"tensors \[\[3\], \[2\], \[1\]\] required, found"):
        rebuild(TREE, [torch.ones(1)])


def test_foreign_leaf_is_named():
    with pytest.raises(TypeError, match="found a str"):
        leaves(("text",))
