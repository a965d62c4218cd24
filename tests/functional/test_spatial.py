"""Maps as distributions over a grid."""

import math

import pytest
import torch
from torch.testing import assert_close

from aime_agent.functional import spatial


def corner_object(side=21):
    m = torch.zeros(side, side, dtype=torch.float64)
    m[:4, :4] = 1.0
    return m


def test_center_of_a_corner_object():
    center = spatial.center_of_mass(corner_object())
    assert_close(center, torch.full((2,), -0.85, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("row", "column"), [(10, 10), (5, 15)])
def test_center_of_one_cell_is_its_column_and_row(row, column):
    m = torch.zeros(21, 21)
    m[row, column] = 3.0
    cells = spatial.to_cells(spatial.center_of_mass(m), 21)
    assert_close(cells, torch.tensor([float(column), float(row)]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["randn", "zeros", "negative", "huge"])
def test_normalised_mass_is_finite_and_one(kind):
    m = {"randn": torch.randn(3, 5, 5), "zeros": torch.zeros(3, 5, 5)}.get(kind)
    m = {"negative": -torch.ones(3, 5, 5), "huge": torch.rand(3, 5, 5) * 1e30}.get(kind, m)
    p = spatial.normalize_mass(m)
    assert p.isfinite().all()
    assert_close(p.sum((-2, -1)), torch.ones(3))


def test_empty_map_lies_at_the_origin():
    assert_close(spatial.center_of_mass(torch.zeros(4, 4)), torch.zeros(2))


def test_product_of_experts_by_hand():
    a, b = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.5, 0.5]])
    fused = spatial.log_product_of_experts(a.log(), b.log(), 0.5).exp()
    assert_close(fused, torch.tensor([[2 / 3, 1 / 3]]))


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_product_of_experts_ends_at_either_expert(gate):
    a, b = (spatial.normalize_mass(torch.rand(2, 4, 4)) for _ in range(2))
    fused = spatial.log_product_of_experts(a.log(), b.log(), gate).exp()
    assert_close(fused, a if gate else b)


def test_entropy_of_uniform_and_of_one_cell():
    maps = torch.stack([torch.full((3, 3), 1 / 9), torch.eye(9)[0].view(3, 3)])
    assert_close(spatial.map_entropy(maps), torch.tensor([math.log(9), 0.0]))


def test_reading_under_one_cell_returns_its_value():
    values, m = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4)
    m[:, 1, 2] = 1.0
    assert_close(spatial.read_under(values, m), values[:, :, 1, 2])
