"""LSTMLayer: calls of the seeds, equations, errors."""

import pytest
import torch

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.lstm import LSTMLayer


def zeros(*size):
    return torch.zeros(*size), torch.zeros(*size)


def test_step_by_hand():
    lstm = LSTMLayer(3, 2)
    x, h, c = torch.randn(4, 3), torch.randn(4, 2), torch.randn(4, 2)
    cell = lstm.cells[0]
    gates = x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
    i, f, g, o = gates.chunk(4, -1)
    new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    out, state = lstm(x, (h, c))
    assert torch.allclose(state.cell, new_c, atol=1e-6)
    assert torch.allclose(out, o.sigmoid() * new_c.tanh(), atol=1e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_sequence_equals_torch(layers):
    lstm, other = LSTMLayer(3, 4, layers), torch.nn.LSTM(3, 4, layers, batch_first=True)
    for i, cell in enumerate(lstm.cells):
        for name, value in cell.named_parameters():
            getattr(other, f"{name}_l{i}").data.copy_(value.data)
    x, state = torch.randn(2, 5, 3), (torch.randn(layers, 2, 4), torch.randn(layers, 2, 4))
    out, (h, c) = lstm(x, state)
    want, (want_h, want_c) = other(x, state)
    assert all(torch.allclose(*p, atol=1e-6) for p in ((out, want), (h, want_h), (c, want_c)))


def test_state_comes_back_in_the_layout_given():
    lstm = LSTMLayer(3, 4)
    x = torch.randn(2, 3)
    assert lstm(x, zeros(2, 4))[1].hidden.shape == (2, 4)
    assert lstm(x, zeros(1, 2, 4))[1].cell.shape == (1, 2, 4)
    assert lstm(x)[1].hidden.shape == (1, 2, 4)
    assert torch.equal(lstm(x, *zeros(2, 4))[0], lstm(x, zeros(2, 4))[0])


def test_masks_forget_the_past():
    lstm = LSTMLayer(3, 4, 2)
    x, state = torch.randn(2, 5, 3), (torch.randn(2, 2, 4), torch.randn(2, 2, 4))
    masks = torch.ones(2, 5)
    masks[:, 2] = 0
    out, _ = lstm(x, state, masks=masks)
    assert torch.allclose(out[:, 2:], lstm(x[:, 2:])[0], atol=1e-6)
    once = lstm(x[:, 0], state, masks=torch.tensor([True, False]))[0]
    assert torch.allclose(once[1], lstm(x[1:, 0])[0][0], atol=1e-6)


def test_start_is_orthogonal_per_gate_with_open_forget_gate():
    cell = LSTMLayer(6, 4).cells[0]
    for gate in cell.weight_hh.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(4), atol=1e-5)
    assert (cell.bias_ih + cell.bias_hh).tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    plain = LSTMLayer(6, 4, use_orthogonal=False).cells[0].weight_hh[:4]
    assert not torch.allclose(plain @ plain.T, torch.eye(4), atol=1e-2)


def test_every_parameter_gets_a_gradient():
    lstm = LSTMLayer(3, 4, 2)
    lstm(torch.randn(2, 3, 3))[0].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in lstm.parameters())


def test_errors_name_the_remedy():
    lstm = LSTMLayer(3, 4)
    with pytest.raises(ShapeError, match=r"must be 24, found 8.*x\[:, t\]"):
        lstm(torch.randn(24, 3), zeros(8, 4))
    with pytest.raises(ShapeError, match="LSTM input: dimension 1 must be 3, found 5"):
        lstm(torch.randn(2, 5))
    with pytest.raises(ShapeError, match="needs its cell"):
        lstm(torch.randn(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="masks: dimension 1 must be 5, found 1"):
        lstm(torch.randn(2, 5, 3), masks=torch.ones(2))
    with pytest.raises(ConfigError, match="n_lstm_layers must be at least 1, found 0"):
        LSTMLayer(3, 4, 0)
