"""Kumaraswamy: closed forms, quadrature, and float32 at the edges."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from aime_agent.functional import kumaraswamy as k


def logs(*values):
    return tuple(torch.tensor([v], dtype=torch.float64).log() for v in values)


def beta_kl(a, b, alpha, beta):
    one = torch.tensor([alpha], dtype=torch.float64), torch.tensor([beta], dtype=torch.float64)
    return k.kl_to_beta(*logs(a, b), *one).item()


@pytest.mark.parametrize(
    ("b", "beta", "want"), [(2, 5, 0.58370927), (0.5, 3, 3.20824053), (3, 1, 0.43194562)]
)
def test_kl_equals_beta_kl_for_unit_a(b, beta, want):
    assert beta_kl(1, b, 1, beta) == pytest.approx(want, abs=1e-6)
    q, p = (torch.distributions.Beta(torch.tensor(1.0), torch.tensor(float(x))) for x in (b, beta))
    assert beta_kl(1, b, 1, beta) == pytest.approx(
        torch.distributions.kl_divergence(q, p).item(), abs=1e-4
    )


def log1mexp(x):
    return math.log(-math.expm1(-x)) if x < 0.7 else math.log1p(-math.exp(-x))


def exact_mean_log_rest(a, b):
    """E[log(1 − v)] by adaptive quadrature over log s, s ~ Exp(1); independent of the library."""

    def integrand(t):
        c = math.exp(t) / b
        log_v = log1mexp(c) / a
        # Beyond this c, 1 − v is e^{−c} / a to sixteen digits.
        rest = -c - math.log(a) if c > 36 else log1mexp(-log_v)
        return rest * math.exp(t - math.exp(t))

    return integrate.quad(integrand, -60, 5, limit=400, epsabs=0, epsrel=1e-11)[0]


def kl_from_rest(a, b, beta, rest):
    entropy = (1 - 1 / b) + (1 - 1 / a) * (special.digamma(b + 1) + k.EULER_GAMMA) - math.log(a * b)
    return -entropy - math.log(beta) - (beta - 1) * rest


@pytest.mark.parametrize(
    ("a", "b", "want", "ten_terms"),
    [
        (1, 5, 0, -0.0003),
        (5, 1, 8.333, 6.776),
        (1, 0.5, 6.697, 4.535),
        (5, 0.5, 13.433, 8.796),
        (1, 0.1, 45.088, 15.023),
        (20, 0.3, 26.774, 13.170),
    ],
)
def test_kl_to_beta_one_five_where_ten_terms_of_the_series_fail(a, b, want, ten_terms):
    found = beta_kl(a, b, 1, 5)
    assert found == pytest.approx(want, abs=1e-3)
    assert found == pytest.approx(kl_from_rest(a, b, 5, exact_mean_log_rest(a, b)), abs=1e-5)
    m = np.arange(1, 11)
    series = -b * (special.beta(m / a, b) / (m + a * b)).sum()
    assert kl_from_rest(a, b, 5, series) == pytest.approx(ten_terms, abs=1e-3)


def test_kl_to_general_beta_agrees_with_quadrature():
    a, b, alpha, beta = 2.0, 3.0, 1.5, 2.5
    log_p = stats.beta(alpha, beta).logpdf

    def integrand(v):
        q = a * b * v ** (a - 1) * (1 - v**a) ** (b - 1)
        log_q = torch.log(torch.tensor(q)).item()
        return q * (log_q - log_p(v))

    want, _ = integrate.quad(integrand, 1e-12, 1 - 1e-12)
    assert beta_kl(a, b, alpha, beta) == pytest.approx(want, abs=1e-6)


def test_stick_prior_kl_is_the_beta_kl_for_a_known_concentration():
    log_a, log_b = torch.randn(2, 4, 3).double()
    alpha = torch.tensor([0.5, 1.0, 3.0, 8.0]).double()
    want = k.kl_to_beta(log_a, log_b, torch.ones(4, 1).double(), alpha[:, None])
    assert torch.allclose(k.kl_to_stick_prior(log_a, log_b, alpha, alpha.log()), want)


def test_mean_log_rest_closed_forms():
    for b in (0.1, 0.5, 2.0, 20.0):
        assert k.mean_log_rest(*logs(1, b)).item() == pytest.approx(-1 / b, rel=6e-6)
    assert k.mean_log_rest(*logs(5, 1)).item() == pytest.approx(-2.2833333, rel=6e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quadrature_is_exact_to_six_millionths_on_a_wide_grid(dtype):
    a, b = (x.ravel() for x in np.meshgrid(*[np.geomspace(0.05, 50, 9)] * 2))
    exact = np.array([exact_mean_log_rest(*pair) for pair in zip(a, b, strict=True)])
    logs_of = (torch.from_numpy(x).log().to(dtype) for x in (a, b))
    found = k.mean_log_rest(*logs_of).double().numpy()
    assert np.abs(found / exact - 1).max() < 6e-6


def test_more_nodes_change_little():
    log_a, log_b = torch.meshgrid(*[torch.linspace(-3, 3.9, 9).double()] * 2, indexing="ij")
    coarse, fine = k.mean_log_rest(log_a, log_b), k.mean_log_rest(log_a, log_b, 65)
    assert ((coarse - fine).abs() / fine.abs()).max() < 1e-5


def test_quadrature_works_in_float32():
    log_a, log_b = torch.meshgrid(*[torch.linspace(-3, 3.9, 9).double()] * 2, indexing="ij")
    single, double = k.mean_log_rest(log_a.float(), log_b.float()), k.mean_log_rest(log_a, log_b)
    assert torch.allclose(single.double(), double, rtol=3e-5, atol=1e-6)


def test_mean_by_hand():
    assert k.log_mean(*logs(2, 3)).exp().item() == pytest.approx(16 / 35, abs=1e-12)
    assert k.log_mean(*logs(1, 4)).exp().item() == pytest.approx(1 / 5, abs=1e-12)


def test_mean_stick_and_rest_sum_to_one():
    log_a, log_b = 3 * torch.randn(2, 100)
    stick = k.log_mean_stick(log_a, log_b)
    assert torch.allclose(stick.log_v.exp() + stick.log_rest.exp(), torch.ones(100), atol=1e-6)


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.5, 0.7), (5.0, 0.3)])
def test_samples_follow_the_cdf(a, b):
    torch.manual_seed(0)
    noise = torch.empty(4000, 1, dtype=torch.float64).exponential_()
    v = k.log_stick(*logs(a, b), noise).log_v.exp().squeeze(-1).numpy()
    assert stats.kstest(v, lambda x: 1 - (1 - x**a) ** b).pvalue > 0.01


def test_samples_match_the_log_moments():
    torch.manual_seed(0)
    noise = torch.empty(100_000, 1, dtype=torch.float64).exponential_()
    stick = k.log_stick(*logs(3, 0.5), noise)
    assert stick.log_v.mean().item() == pytest.approx(k.mean_log_v(*logs(3, 0.5)).item(), rel=0.02)
    want = k.mean_log_rest(*logs(3, 0.5)).item()
    assert stick.log_rest.mean().item() == pytest.approx(want, rel=0.02)


def test_log_prob_and_entropy_agree():
    torch.manual_seed(0)
    noise = torch.empty(100_000, 1, dtype=torch.float64).exponential_()
    log_prob = k.kumaraswamy_log_prob(k.log_stick(*logs(2, 3), noise), *logs(2, 3))
    assert -log_prob.mean().item() == pytest.approx(k.entropy(*logs(2, 3)).item(), abs=0.01)


def extremes(dtype):
    grid = torch.linspace(-5, 5, 11, dtype=dtype)
    torch.manual_seed(0)
    noise = torch.empty(50, 1, 1, dtype=torch.float32).exponential_().to(dtype)
    return [x.clone().requires_grad_() for x in torch.meshgrid(grid, grid, indexing="ij")], noise


def gradients(dtype):
    (log_a, log_b), noise = extremes(dtype)
    stick = k.log_stick(log_a, log_b, noise)
    log_prob = k.kumaraswamy_log_prob(stick, log_a, log_b)
    outputs = (stick.log_v, stick.log_rest, log_prob)
    assert all(x.isfinite().all() for x in outputs)
    pairs = [torch.autograd.grad(x.sum(), (log_a, log_b), retain_graph=True) for x in outputs]
    return torch.stack([g for pair in pairs for g in pair]).double()


def test_float32_extremes_are_finite_and_as_in_float64():
    single, double = gradients(torch.float32), gradients(torch.float64)
    assert single.isfinite().all()
    assert ((single - double).abs() <= 1e-3 * double.abs() + 1e-4).all()


@pytest.mark.parametrize(
    ("log_a", "log_b", "value", "share"), [(0, -3, 1, 0.42), (4, -4, 1, 0.78), (-4, 4, 0, 0.9998)]
)
def test_log_space_keeps_what_float32_rounds_to_the_ends(log_a, log_b, value, share):
    a, b = (torch.tensor(float(x)) for x in (log_a, log_b))
    torchs = torch.distributions.Kumaraswamy(a.exp(), b.exp()).sample((100_000,))
    assert (torchs == value).float().mean().item() == pytest.approx(share, abs=0.01)
    ours = k.log_stick(a, b, torch.empty(100_000).exponential_())
    lost = ours.log_rest if value else ours.log_v
    assert lost.isfinite().all()
    assert (lost < 0).all()
    assert lost.std() > 1


def test_kl_is_finite_and_not_negative_at_float32_extremes():
    (log_a, log_b), _ = extremes(torch.float32)
    alpha = torch.full((11,), 3.0)
    kl = k.kl_to_stick_prior(log_a, log_b, alpha, alpha.log())
    kl.sum().backward()
    assert kl.isfinite().all()
    assert (kl > -1e-4).all()
    assert log_a.grad.isfinite().all()
    assert log_b.grad.isfinite().all()


def test_gradients_pass_gradcheck():
    log_a = torch.tensor([[-1.0, 0.0, 2.0]]).double().requires_grad_()
    log_b = torch.tensor([[1.0, -2.0, 0.5]]).double().requires_grad_()
    noise = torch.tensor([[0.1, 5.0, 1.0]]).double()
    assert torch.autograd.gradcheck(lambda a, b: tuple(k.log_stick(a, b, noise)), (log_a, log_b))
    assert torch.autograd.gradcheck(k.log_mean, (log_a, log_b))
    assert torch.autograd.gradcheck(k.mean_log_rest, (log_a, log_b))
