"""KumaraswamyStable and GammaPosterior."""

import pytest
import torch
from torch.distributions import Gamma, kl_divergence

from aime_agent.errors import ConfigError
from aime_agent.representation import GammaPosterior, KumaraswamyStable


def kuma(a, b):
    return KumaraswamyStable(torch.tensor(float(a)).log(), torch.tensor(float(b)).log())


def test_agrees_with_torch_where_torch_is_stable():
    ours, theirs = kuma(2, 3), torch.distributions.Kumaraswamy(torch.tensor(2.0), torch.tensor(3.0))
    v = torch.tensor([0.1, 0.5, 0.9])
    assert torch.allclose(ours.log_prob(v), theirs.log_prob(v), atol=1e-5)
    assert torch.allclose(ours.cdf(v), 1 - (1 - v**2) ** 3, atol=1e-6)
    assert ours.mean.item() == pytest.approx(16 / 35, abs=1e-6)
    assert ours.entropy().item() == pytest.approx(theirs.entropy().item(), abs=1e-5)


def test_samples_stay_inside_in_float32():
    grid = torch.linspace(-5, 5, 11)
    dist = KumaraswamyStable(grid[:, None], grid[None])
    v = dist.rsample((500,))
    assert v.shape == (500, 11, 11)
    assert ((v > 0) & (v < 1)).all()
    assert dist.log_prob(v).isfinite().all()
    assert dist.sample((2,)).requires_grad is False


def test_given_noise_fixes_the_draw():
    noise = torch.rand(3)
    dist = kuma(2, 0.5)
    first, second = dist.rsample_log(exponential=noise), dist.rsample_log(exponential=noise)
    assert torch.equal(first.log_v, second.log_v)
    total = first.log_v.exp() + first.log_rest.exp()
    assert torch.allclose(total, torch.ones(3), atol=1e-6)


def test_gamma_posterior_starts_where_told():
    net = GammaPosterior(hidden_dim=4, initial_concentration=6.0, initial_rate=2.0)
    concentration, rate = net(torch.randn(3, 4))
    assert torch.allclose(concentration, torch.full((3,), 6.0))
    assert torch.allclose(rate, torch.full((3,), 2.0))
    assert net.kl_divergence(torch.randn(3, 4), 6.0, 2.0).item() == pytest.approx(0, abs=1e-5)


def test_gamma_kl_equals_torch():
    net = GammaPosterior(hidden_dim=4)
    torch.nn.init.normal_(net.net.layers[-1].weight)
    h, one = torch.randn(3, 4), torch.ones(3)
    want = kl_divergence(Gamma(*net(h)), Gamma(6 * one, 2 * one)).mean()
    assert torch.allclose(net.kl_divergence(h, 6.0, 2.0), want, atol=1e-5)


def test_gamma_samples_have_shape_mean_and_gradient():
    torch.manual_seed(0)
    net = GammaPosterior(hidden_dim=4, initial_concentration=3.0, initial_rate=1.5)
    torch.nn.init.normal_(net.net.layers[-1].weight, std=1e-3)
    alpha = net.sample(torch.randn(2, 4), 4000)
    assert alpha.shape == (2, 4000)
    assert alpha.mean().item() == pytest.approx(2.0, abs=0.1)
    alpha.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="initial_rate must exceed eps"):
        GammaPosterior(initial_rate=0.0)
    with pytest.raises(ConfigError, match="eps must be positive"):
        GammaPosterior(eps=0.0)
    assert GammaPosterior(units=7).net.layers[0].out_features == 7
    low = GammaPosterior(hidden_dim=2, eps=0.5, initial_rate=0.6)
    low.net.layers[-1].bias.data.fill_(-50.0)
    assert low(torch.zeros(1, 2)).rate.item() == pytest.approx(0.5)
