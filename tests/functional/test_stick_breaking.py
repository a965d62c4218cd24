"""Weights from sticks, and the concentration."""

import pytest
import torch
from torch.distributions import Gamma, kl_divergence

from aime_agent.functional import kumaraswamy
from aime_agent.functional import stick_breaking as s


def test_weights_by_hand_and_sum():
    v = torch.tensor([0.5, 0.2, 0.9])
    pi = s.log_weights(v.log(), torch.log1p(-v)).exp()
    assert torch.allclose(pi, torch.tensor([0.5, 0.1, 0.36, 0.04]))
    assert pi.sum().item() == pytest.approx(1.0, abs=1e-6)


def test_extreme_sticks_keep_finite_log_weights():
    log_a, log_b = 5 * torch.randn(2, 200, 14).clamp(-1, 1)
    noise = torch.empty(200, 14).exponential_()
    log_pi = s.log_weights(*kumaraswamy.log_stick(log_a, log_b, noise))
    assert log_pi.isfinite().all()
    assert torch.allclose(log_pi.exp().sum(-1), torch.ones(200), atol=1e-5)


def test_mean_weights_are_uniform_at_the_start():
    b = torch.arange(14.0, 0, -1)
    pi = s.mean_log_weights(torch.zeros(14), b.log()).exp()
    assert torch.allclose(pi, torch.full((15,), 1 / 15), atol=1e-6)


def drawn_weights(log_b):
    noise = torch.empty(20_000, 14).exponential_()
    stick = kumaraswamy.log_stick(torch.zeros(14), log_b, noise)
    return s.log_weights(*stick).exp()


def test_start_uses_components_that_unit_sticks_would_starve():
    pi = s.mean_log_weights(torch.zeros(14), torch.zeros(14)).exp()
    want = torch.tensor([0.5, 2.0**-8, 2.0**-14])
    assert torch.allclose(pi[[0, 7, 14]], want, rtol=1e-5)
    for log_b, number in ((torch.zeros(14), 2.96), (torch.arange(14.0, 0, -1).log(), 10.2)):
        entropy = torch.special.entr(drawn_weights(log_b)).sum(-1)
        assert entropy.exp().mean().item() == pytest.approx(number, abs=0.06)


def test_mean_weights_are_the_mean_of_drawn_weights():
    torch.manual_seed(0)
    log_a, log_b = torch.randn(2, 4)
    noise = torch.empty(40_000, 4).exponential_()
    drawn = s.log_weights(*kumaraswamy.log_stick(log_a, log_b, noise)).exp().mean(0)
    assert torch.allclose(s.mean_log_weights(log_a, log_b).exp(), drawn, atol=0.01)


@pytest.mark.parametrize(("alpha", "want"), [(0.5, 2.60), (1.0, 4.00), (2.0, 6.71), (5.0, 12.1)])
def test_gem_effective_number(alpha, want):
    b = torch.full((14,), alpha)
    pi = s.mean_log_weights(torch.zeros(14), b.log()).exp()
    assert torch.special.entr(pi).sum().exp().item() == pytest.approx(want, abs=0.05)


def test_no_sticks_are_one_component():
    assert s.mean_log_weights(torch.zeros(2, 0), torch.zeros(2, 0)).tolist() == [[0.0], [0.0]]


def test_uniform_mix_bounds_the_weights():
    log_pi = torch.tensor([0.0, -50.0, -80.0])
    mixed = s.mix_uniform(log_pi, 0.03).exp()
    assert torch.allclose(mixed, torch.tensor([0.98, 0.01, 0.01]))
    assert s.mix_uniform(log_pi, 0.0) is log_pi


def test_truncation_keeps_mass_and_at_least_one():
    cut = s.truncate_weights(torch.tensor([[0.6, 0.1, 0.3], [0.999, 0.0005, 0.0005]]), 0.85)
    assert cut.active_components.tolist() == [2, 1]
    assert torch.allclose(cut.pi, torch.tensor([[0.6, 0.0, 0.4], [1.0, 0.0, 0.0]]))


def test_effective_components_count():
    pi = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]])
    assert s.effective_components(pi).tolist() == [1, 2, 3]


def test_gamma_kl_equals_torch_and_fixture():
    shape, rate = torch.rand(5).double() + 0.2, torch.rand(5).double() + 0.2
    one = torch.ones(5).double()
    want = kl_divergence(Gamma(shape, rate), Gamma(6 * one, 2 * one))
    assert torch.allclose(s.gamma_kl(shape, rate, 6 * one, 2 * one), want)
    fixture = s.gamma_kl(3 * one, 2 * one, one, one)[0].item()
    assert fixture == pytest.approx(0.34556867, abs=1e-7)


def test_concentration_integral_equals_monte_carlo():
    torch.manual_seed(0)
    shape, rate = torch.tensor([3.0]).double(), torch.tensor([1.5]).double()
    log_a, log_b = torch.tensor([[0.3, -0.5]]).double(), torch.tensor([[1.0, 0.2]]).double()
    exact = kumaraswamy.kl_to_stick_prior(log_a, log_b, *s.gamma_moments(shape, rate))
    alpha = Gamma(shape, rate).sample((20_000,)).squeeze(-1)
    wide = (x.expand(20_000, 2) for x in (log_a, log_b))
    drawn = kumaraswamy.kl_to_stick_prior(*wide, alpha, alpha.log())
    error = drawn.std(0) / 20_000**0.5
    assert ((drawn.mean(0) - exact[0]).abs() < 4 * error).all()
