"""The convolutional GRU."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.errors import ConfigError
from aime_agent.layers.conv_gru import ConvGRUCell


def _dense(conv):
    return lambda v: v @ conv.weight[..., 0, 0].T + conv.bias


def test_seed_call():
    cell = ConvGRUCell(input_size=1, hidden_size=32, kernel_size=5, cuda_flag=True)
    h = None
    for _ in range(3):
        h = cell(torch.rand(2, 1, 21, 21), h)
    assert h.shape == (2, 32, 21, 21)


def test_missing_state_is_zero():
    cell, x = ConvGRUCell(2, 4, 3), torch.randn(2, 2, 5, 5)
    assert_close(cell(x), cell(x, torch.zeros(2, 4, 5, 5)))


def test_one_cell_equals_the_scalar_formula():
    cell = ConvGRUCell(3, 4, 1, group_norm=False).double()
    x, h = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    gates, candidate = _dense(cell.gates), _dense(cell.candidate)
    r, u = gates(torch.cat([x, h], 1)).sigmoid().chunk(2, 1)
    c = candidate(torch.cat([x, r * h], 1)).tanh()
    expected = u * h + (1 - u) * c
    assert_close(cell(x[..., None, None], h[..., None, None])[..., 0, 0], expected)


def test_state_stays_within_one():
    cell, h = ConvGRUCell(1, 4, 3), None
    for _ in range(20):
        h = cell(10 * torch.randn(2, 1, 6, 6), h)
    assert h.abs().max() <= 1


@pytest.mark.parametrize("norm", [True, False])
def test_every_parameter_gets_a_gradient(norm):
    cell = ConvGRUCell(1, 4, 3, group_norm=norm)
    cell(torch.rand(2, 1, 6, 6), torch.randn(2, 4, 6, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in cell.parameters())


def test_norm_acts():
    assert len(list(ConvGRUCell(1, 4, 3).parameters())) == 8
    assert len(list(ConvGRUCell(1, 4, 3, group_norm=False).parameters())) == 4


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="kernel_size must be odd, found 4"):
        ConvGRUCell(1, 4, 4)
    with pytest.raises(ConfigError, match="hidden_size"):
        ConvGRUCell(1, 0, 3)
