"""Shapes are checked at public borders."""

import pytest
import torch

from aime_agent.errors import ShapeError
from aime_agent.shapes import validate_shape


@pytest.mark.parametrize("expected", [(2, 3, 4), (-1, 3, -1), (-1, -1, -1)])
def test_matching_shape_passes(expected):
    validate_shape(torch.zeros(2, 3, 4), expected, "context")


def test_scalar_has_no_dimension():
    validate_shape(torch.zeros(()), (), "loss")


@pytest.mark.parametrize(
    ("shape", "expected", "message"),
    [
        ((2, 3), (-1, 4), r"action: dimension 1 must be 4, found 3 \(shape \[2, 3\]\)$"),
        ((0, 3), (1, 3), r"action: dimension 0 must be 1, found 0"),
        ((2,), (-1, 4), r"action: 2 dimensions required \[any, 4\], found 1 \(shape \[2\]\)$"),
    ],
)
def test_other_shape_is_named(shape, expected, message):
    with pytest.raises(ShapeError, match=message):
        validate_shape(torch.zeros(shape), expected, "action")


@pytest.mark.parametrize("shape", [(2, 3), (2,)])
def test_remedy_ends_the_message(shape):
    with pytest.raises(ShapeError, match=r"\. Permute it\.$"):
        validate_shape(torch.zeros(shape), (-1, 4), "image", remedy="Permute it.")
