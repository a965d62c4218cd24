"""Gaussians and mixtures: bounds, fixtures, sampling."""

import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Independent, Normal, kl_divergence

from aime_agent.functional import gaussian as g
from aime_agent.functional.gaussian import DiagonalGaussian


def random_mixture(batch=3, components=5, size=4, separation=1.0):
    torch.manual_seed(1)
    log_pi = torch.randn(batch, components, dtype=torch.float64).log_softmax(-1)
    means = separation * torch.randn(batch, components, size, dtype=torch.float64)
    stds = 0.5 + torch.rand(batch, components, size, dtype=torch.float64)
    q = DiagonalGaussian(torch.randn(batch, size).double(), 0.3 + torch.rand(batch, size).double())
    return q, log_pi, means, stds


def upper(q, log_pi, means, stds, tau=1.0):
    return g.mixture_kl_bound(log_pi, g.component_kls(q.mean, q.std, means, stds), tau)


def test_kl_equals_torch():
    q, _, means, stds = random_mixture()
    p = DiagonalGaussian(means[:, 0], stds[:, 0])
    want = kl_divergence(Independent(Normal(*q), 1), Independent(Normal(*p), 1))
    assert torch.allclose(q.kl(p), want)
    assert torch.allclose(q.entropy(), Independent(Normal(*q), 1).entropy())
    assert torch.allclose(q.log_prob(p.mean), Independent(Normal(*q), 1).log_prob(p.mean))


def test_one_dimensional_fixture():
    q = DiagonalGaussian(torch.tensor([0.3]).double(), torch.tensor([0.5]).double())
    log_pi = torch.tensor([0.3, 0.7]).double().log()
    means = torch.tensor([[-1.0], [1.2]]).double()
    stds = torch.tensor([[0.7], [0.4]]).double()
    assert upper(q, log_pi, means, stds).item() == pytest.approx(2.28920251, abs=1e-6)
    assert g.mixture_kl_lower(q, log_pi, means, stds).item() == pytest.approx(0.85009710, abs=1e-6)
    normal = torch.randn(200_000, 1, dtype=torch.float64)
    estimate = g.mixture_kl_mc(q, log_pi, means, stds, normal).item()
    assert estimate == pytest.approx(1.16966670, abs=0.02)

    def integrand(x):
        parts = 0.3 * stats.norm(-1, 0.7).pdf(x) + 0.7 * stats.norm(1.2, 0.4).pdf(x)
        log_q = stats.norm(0.3, 0.5).logpdf(x)
        return math.exp(log_q) * (log_q - math.log(parts))

    assert integrate.quad(integrand, -7, 7)[0] == pytest.approx(1.16966670, abs=1e-7)


def test_single_draws_are_at_times_negative_and_the_bound_never_is():
    torch.manual_seed(0)
    log_pi = torch.full((4000, 15), 1 / 15).double().log()
    means = (0.25 * torch.randn(15, 36).double()).expand(4000, -1, -1)
    stds = torch.ones_like(means)
    q = DiagonalGaussian(torch.zeros(4000, 36).double(), torch.full((4000, 36), 0.7).double())
    draws = g.mixture_kl_mc(q, log_pi, means, stds, torch.randn(1, 4000, 36).double())
    assert draws.std().item() == pytest.approx(2.3, abs=0.1)
    assert (draws < 0).double().mean().item() == pytest.approx(0.044, abs=0.01)
    bounds = g.mixture_kl_lower(q, log_pi, means, stds)[0], upper(q, log_pi, means, stds)[0]
    assert bounds[0] < draws.mean() < bounds[1]


def test_monte_carlo_lies_between_the_bounds():
    q, log_pi, means, stds = random_mixture()
    normal = torch.randn(20_000, *q.mean.shape, dtype=torch.float64)
    estimate = g.mixture_kl_mc(q, log_pi, means, stds, normal)
    assert (g.mixture_kl_lower(q, log_pi, means, stds) < estimate + 0.05).all()
    assert (estimate < upper(q, log_pi, means, stds) + 0.05).all()


def test_bound_is_exact_for_one_component_and_for_copies():
    q, _, means, stds = random_mixture()
    exact = q.kl(DiagonalGaussian(means[:, 0], stds[:, 0]))
    same_means, same_stds = (x[:, :1].expand(-1, 5, -1) for x in (means, stds))
    weights = torch.full((3, 5), 0.2).double().log()
    assert torch.allclose(upper(q, weights, same_means, same_stds), exact)
    assert torch.allclose(upper(q, torch.zeros(3, 1).double(), means[:, :1], stds[:, :1]), exact)


def test_bound_equals_kl_when_components_are_far_apart():
    q, log_pi, means, stds = random_mixture(separation=30.0)
    q = DiagonalGaussian(means[:, 2] + 0.1, q.std)
    normal = torch.randn(20_000, *q.mean.shape, dtype=torch.float64)
    estimate = g.mixture_kl_mc(q, log_pi, means, stds, normal)
    assert torch.allclose(upper(q, log_pi, means, stds), estimate, atol=0.05)


def test_bound_grows_with_temperature_and_is_not_negative():
    q, log_pi, means, stds = random_mixture()
    values = torch.stack([upper(q, log_pi, means, stds, tau) for tau in (1.0, 2.0, 7.5)])
    assert (values.diff(dim=0) >= 0).all()
    assert (values >= 0).all()


@pytest.mark.parametrize("tau", [1.0, 1.5])
def test_bound_passes_gradcheck(tau):
    q, log_pi, means, stds = random_mixture(2, 3, 2)
    leaves = [x.clone().requires_grad_() for x in (q.mean, q.std, log_pi, means, stds)]
    assert torch.autograd.gradcheck(
        lambda m, s, *rest: upper(DiagonalGaussian(m, s), *rest, tau=tau), leaves
    )


def test_component_is_chosen_by_inverse_cdf():
    log_pi = torch.tensor([0.2, 0.5, 0.3]).log().expand(4, 3)
    index = g.choose_component(log_pi, torch.tensor([0.1, 0.25, 0.69, 0.999]))
    assert index.tolist() == [0, 1, 1, 2]
    assert g.choose_component(torch.zeros(2, 1), torch.tensor([0.0, 0.9999])).tolist() == [0, 0]


def test_samples_have_the_mixture_moments():
    torch.manual_seed(0)
    n = 40_000
    log_pi = torch.tensor([0.25, 0.75]).log().expand(n, 2)
    means, stds = torch.tensor([[-2.0], [2.0]]).expand(n, 2, 1), torch.full((n, 2, 1), 0.5)
    z = g.sample_mixture(log_pi, means, stds, torch.randn(n, 1), torch.rand(n))
    assert z.mean().item() == pytest.approx(1.0, abs=0.05)
    assert z.var().item() == pytest.approx(0.25 + 3.0, abs=0.08)


@pytest.mark.parametrize("zero", [0.0, torch.tensor(0.0)])
def test_temperature_zero_is_the_heaviest_mean(zero):
    q, log_pi, means, stds = random_mixture()
    z = g.sample_mixture(log_pi, means, stds, q.mean, torch.full((3,), 0.99).double(), zero)
    assert torch.equal(z, means[torch.arange(3), log_pi.argmax(-1)])


def test_temperature_scales_noise_by_its_root():
    args = torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.ones(1, 2)
    for tau in (0.25, torch.tensor(0.25)):
        z = g.sample_mixture(*args, torch.tensor([0.5]), tau)
        assert torch.allclose(z, torch.full((1, 2), math.sqrt(0.25)))


def test_gradient_reaches_only_the_chosen_component():
    means = torch.zeros(1, 2, 3, requires_grad=True)
    stds = torch.ones(1, 2, 3, requires_grad=True)
    log_pi = torch.tensor([[0.5, 0.5]]).log()
    normal = torch.full((1, 3), 2.0)
    g.sample_mixture(log_pi, means, stds, normal, torch.tensor([0.7])).sum().backward()
    assert means.grad[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert stds.grad[0].tolist() == [[0, 0, 0], [2, 2, 2]]


def test_batch_equals_singles():
    q, log_pi, means, stds = random_mixture()
    uniform = torch.tensor([0.1, 0.5, 0.9]).double()
    together = g.sample_mixture(log_pi, means, stds, q.mean, uniform)
    rows = zip(log_pi, means, stds, q.mean, uniform, strict=True)
    assert torch.equal(together, torch.stack([g.sample_mixture(*row) for row in rows]))
