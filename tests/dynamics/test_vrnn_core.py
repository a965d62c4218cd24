"""The recurrence: what it reads, what each keyword does."""

import pytest
import torch

from aime_agent.dynamics import VRNNCore
from aime_agent.errors import ConfigError

SIZES = {"latent_dim": 3, "context_dim": 4, "action_dim": 2, "hidden_dim": 6, "units": 5}


def inputs(core, batch=3):
    c = core.config
    state = core.initial(batch)
    z, action = torch.randn(batch, c.latent_dim), torch.randn(batch, c.action_dim)
    return state, z, core.predict_context(state.hidden, z), action


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_step_equals_the_lstm_on_the_concatenation(layers):
    core = VRNNCore(**SIZES, n_lstm_layers=layers)
    state, z, context, action = inputs(core)
    first = core.step(*state, z, context, action)
    second = core.step(*first, z, context, action)
    x = torch.cat((z, context, action), -1).unsqueeze(1).expand(-1, 2, -1)
    out, _ = core.lstm(x, (torch.zeros(layers, 3, 6), torch.zeros(layers, 3, 6)))
    assert torch.allclose(first.hidden, out[:, 0], atol=1e-6)
    assert torch.allclose(second.hidden, out[:, 1], atol=1e-6)
    assert second.cell.shape == (3, core.cell_dim) == (3, (2 * layers - 1) * 6)


def test_predicted_context_is_normalised():
    core = VRNNCore(**SIZES)
    context = core.predict_context(torch.randn(7, 5, 6), torch.randn(7, 5, 3))
    assert torch.allclose(context.mean(-1), torch.zeros(7, 5), atol=1e-6)
    assert torch.allclose(context.var(-1, correction=0), torch.ones(7, 5), atol=1e-2)


@pytest.mark.parametrize("layers", [1, 2])
def test_every_parameter_gets_a_gradient(layers):
    core = VRNNCore(**SIZES, n_lstm_layers=layers)
    state, z, context, action = inputs(core)
    core.step(*core.step(*state, z, context, action), z, context, action).hidden.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in core.parameters())


@pytest.mark.parametrize("name", ["latent_dim", "context_dim", "action_dim", "hidden_dim", "units"])
def test_sizes_act(name):
    count = [
        sum(p.numel() for p in VRNNCore(**{**SIZES, name: SIZES[name] + d}).parameters())
        for d in (0, 1)
    ]
    assert count[0] < count[1]


def test_orthogonal_acts():
    weight = VRNNCore(**SIZES).lstm.cells[0].weight_hh[:6]
    plain = VRNNCore(**SIZES, use_orthogonal=False).lstm.cells[0].weight_hh[:6]
    assert torch.allclose(weight @ weight.T, torch.eye(6), atol=1e-5)
    assert not torch.allclose(plain @ plain.T, torch.eye(6), atol=1e-2)


def test_works_in_float64():
    core = VRNNCore(**SIZES).double()
    state = core.initial(2)
    z = torch.randn(2, 3).double()
    context = core.predict_context(state.hidden, z)
    assert core.step(*state, z, context, z[:, :2]).hidden.dtype == torch.float64


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"VRNNCore\.hidden_dim must be at least 1, found 0"):
        VRNNCore(hidden_dim=0)
    with pytest.raises(ConfigError, match=r"'hiden_dim'.*'hidden_dim'"):
        VRNNCore(hiden_dim=3)
    with pytest.raises(ConfigError, match="action_dim must not be negative"):
        VRNNCore(action_dim=-1)
