"""AdaptiveStickBreaking."""

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.representation import AdaptiveStickBreaking


def random_net(**kw):
    torch.manual_seed(0)
    net = AdaptiveStickBreaking(max_components=5, hidden_dim=4, units=8, **kw)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return net


def test_starts_uniform():
    torch.manual_seed(0)
    net = AdaptiveStickBreaking(hidden_dim=4)
    log_a, log_b = net.parameters_of(torch.randn(2, 4))
    assert torch.allclose(log_a, torch.zeros(2, 14), atol=1e-6)
    assert torch.allclose(log_b.exp(), torch.arange(14.0, 0, -1).expand(2, 14), rtol=1e-5)
    pi, _ = net(torch.randn(2, 4), n_samples=4000, truncation_threshold=1.0)
    assert torch.allclose(pi, torch.full((2, 15), 1 / 15), atol=0.01)


def test_info_and_simplex():
    pi, info = random_net()(torch.randn(3, 4), n_samples=7)
    assert torch.allclose(pi.sum(-1), torch.ones(3), atol=1e-5)
    assert set(info) == {"kumar_a", "kumar_b", "v", "perm", "active_components"}
    assert info["v"].shape == (3, 7, 4)
    assert info["perm"].tolist() == [0, 1, 2, 3]


def test_permutation_is_undone():
    net = random_net()
    h, noise = torch.randn(2, 4), torch.full((2, 1, 4), 0.7)
    plain, _ = net(h, 1, False, 1.0, noise)
    shuffled, info = net(h, 1, True, 1.0, noise)
    log_a, log_b = net.parameters_of(h)
    v, order = info["v"][:, 0], info["perm"]
    assert torch.allclose(shuffled[:, order[0]], v[:, 0], atol=1e-6)
    assert torch.allclose(shuffled.sum(-1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(plain, shuffled)
    assert torch.allclose(info["kumar_a"], log_a.exp())
    assert torch.allclose(info["kumar_b"], log_b.exp())


def test_truncation_acts():
    net, h = random_net(), torch.randn(6, 4)
    noise = torch.rand(6, 3, 4)
    full, _ = net(h, exponential=noise, truncation_threshold=1.0)
    cut, info = net(h, exponential=noise, truncation_threshold=0.6)
    assert ((full > 0).sum(-1) == 5).all()
    assert torch.equal((cut > 0).sum(-1), info["active_components"])
    assert (info["active_components"] < 5).any()


def test_kl_uses_the_hyper_prior_and_reaches_every_parameter():
    h = torch.randn(3, 4)
    net = random_net(prior_alpha=6.0, prior_beta=2.0)
    other = random_net()
    assert not torch.allclose(net.kl_divergence(h), other.kl_divergence(h))
    net.kl_divergence(h).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_gradient_reaches_h_through_the_weights():
    h = torch.randn(3, 4, requires_grad=True)
    random_net()(h)[0][:, 0].sum().backward()
    assert h.grad.abs().sum() > 0


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="max_components must be 1 to 128, found 0"):
        AdaptiveStickBreaking(max_components=0)
    with pytest.raises(ConfigError, match="prior_beta must be positive"):
        AdaptiveStickBreaking(prior_beta=0.0)
