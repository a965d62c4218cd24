import math

import pytest
import torch
from scipy.stats import logistic

from aime_agent.functional.likelihood import bits_per_dimension, discretised_logistic

LEVELS = torch.arange(256, dtype=torch.float64) / 255


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.3, 1.0, 1.7])
@pytest.mark.parametrize("log_scale", [-9.0, -6.0, -3.0, 0.0, 3.0])
def test_probabilities_of_all_values_sum_to_one(mean, log_scale):
    log_probs = discretised_logistic(LEVELS, scalar(mean), scalar(log_scale))
    assert log_probs.isfinite().all()
    torch.testing.assert_close(log_probs.exp().sum(), scalar(1.0))


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.05), (0.5, 0.3), (0.99, 0.02)])
def test_probabilities_equal_differences_of_scipys_cdf(mean, scale):
    half = 0.5 / 255
    upper = logistic.cdf(LEVELS.numpy() + half, mean, scale)
    lower = logistic.cdf(LEVELS.numpy() - half, mean, scale)
    upper[-1], lower[0] = 1.0, 0.0
    found = discretised_logistic(LEVELS, scalar(mean), scalar(math.log(scale))).exp()
    torch.testing.assert_close(found, torch.from_numpy(upper - lower), rtol=1e-9, atol=1e-12)


def test_edge_bins_hold_the_tails():
    below = discretised_logistic(LEVELS, scalar(-5.0), scalar(-2.0)).exp()
    assert below[0] > 1 - 1e-12
    above = discretised_logistic(LEVELS, scalar(6.0), scalar(-2.0)).exp()
    assert above[-1] > 1 - 1e-12


def test_two_values_by_hand():
    """Bins of width 1 around 0 and 1: σ((½ − μ) / s) and the rest."""
    x = torch.tensor([0.0, 1.0]).double()
    found = discretised_logistic(x, scalar(0.2), scalar(0.0), num_values=2).exp()
    low = 1 / (1 + math.exp(-0.3))
    torch.testing.assert_close(found, torch.tensor([low, 1 - low]).double())


def test_float32_far_tails_have_finite_values_and_gradients():
    mean = torch.tensor([-4.0, 0.0, 5.0], requires_grad=True)
    log_scale = torch.full((3,), -7.0, requires_grad=True)
    log_probs = discretised_logistic(torch.tensor([1.0, 0.5, 0.0]), mean, log_scale)
    log_probs.sum().backward()
    assert log_probs.isfinite().all()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()
    assert mean.grad[0] > 0 > mean.grad[2]


def test_gradient_equals_finite_differences():
    x = LEVELS[[0, 3, 100, 255]]
    mean, log_scale = torch.rand(2, 4, dtype=torch.float64).requires_grad_().unbind()
    check = torch.autograd.gradcheck
    assert check(lambda m, s: discretised_logistic(x, m, s - 3), (mean, log_scale))


def test_bits_of_the_uniform_distribution_are_eight():
    nats = torch.tensor(12 * math.log(256))
    torch.testing.assert_close(bits_per_dimension(nats, 12), torch.tensor(8.0))
