"""MLPs."""

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.layers.mlp import MLP, LinearResidual, zero_output


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_count_by_hand():
    assert count(MLP(3, 5)) == 3 * 5 + 5 + 2 * 5
    assert count(MLP(3, 5, 2, out_features=4)) == (15 + 5 + 10) + (25 + 5 + 10) + (20 + 4)
    assert count(MLP(3, 5, norm="rms")) == 15 + 5 + 5
    assert count(MLP(3, 5, norm="none")) == 15 + 5


def test_one_layer_by_hand():
    mlp = MLP(4, 6)
    x = torch.randn(2, 3, 4)
    hidden = torch.nn.functional.layer_norm(mlp.layers[0](x), (6,))
    assert torch.allclose(mlp(x), torch.nn.functional.silu(hidden), atol=1e-6)


@pytest.mark.parametrize(
    "module", [MLP(4, 6, 2, 3), MLP(4, 6, norm="rms"), LinearResidual(4, 3, 6)]
)
def test_every_parameter_gets_a_gradient(module):
    for p in module.parameters():
        torch.nn.init.normal_(p)
    module(torch.randn(5, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_linear_residual_starts_linear():
    module = LinearResidual(4, 3, 6)
    x = torch.randn(5, 4)
    assert torch.equal(module(x), module.linear(x))


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"'layr'.*'layer'"):
        MLP(3, 4, norm="layr")
    with pytest.raises(ConfigError, match="num_layers must be at least 1, found 0"):
        MLP(3, 4, num_layers=0)
    with pytest.raises(ConfigError, match="out_features"):
        zero_output(MLP(3, 4))
