"""Two-hot regression and λ-returns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aime_agent.functional import returns as r


@given(st.floats(-1e4, 1e4))
def test_symexp_inverts_symlog(x):
    value = torch.tensor(x, dtype=torch.float64)
    assert r.symexp(r.symlog(value)).item() == pytest.approx(x, rel=1e-9, abs=1e-12)


@given(st.floats(-400, 400))
def test_two_hot_mean_is_the_value(x):
    bins = r.symexp_bins(127, 6.0).double()
    target = r.two_hot(torch.tensor(x, dtype=torch.float64), bins)
    assert target.sum().item() == pytest.approx(1.0)
    assert (target @ bins).item() == pytest.approx(x, abs=1e-6)


def test_values_outside_the_range_take_the_outer_bins():
    bins = r.symexp_bins(5, 1.0)
    assert r.two_hot(torch.tensor([-9.0, 9.0]), bins).argmax(-1).tolist() == [0, 4]


def test_loss_is_the_cross_entropy_of_the_two_hot():
    bins = r.symexp_bins(11, 3.0)
    logits, x = torch.randn(4, 6, 11), 3 * torch.randn(4, 6)
    want = -(r.two_hot(x, bins) * logits.log_softmax(-1)).sum(-1)
    assert torch.allclose(r.two_hot_loss(logits, x, bins), want, atol=1e-6)


def test_uniform_logits_mean_zero():
    bins = r.symexp_bins(127, 6.0)
    assert r.two_hot_mean(torch.zeros(2, 127), bins).abs().max() < 1e-3


def test_n_step_return_by_hand():
    rewards, discounts = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.8, 0.1]])
    found = r.n_step_return(rewards, discounts, torch.tensor([100.0]))
    assert found.item() == pytest.approx(1 + 0.5 * 2 + 0.5 * 0.8 * 3 + 0.5 * 0.8 * 0.1 * 100)
    values = torch.tensor([[7.0, 9.0, 100.0]])
    longest = r.lambda_returns(rewards, discounts, values, lambda_=1.0)
    torch.testing.assert_close(found, longest[:, 0])
    one = r.n_step_return(rewards[:, :1], discounts[:, :1], torch.tensor([4.0]))
    assert one.item() == pytest.approx(1 + 0.5 * 4)


def test_lambda_returns_by_hand():
    reward, discount = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.9, 0.9, 0.0]])
    value = torch.tensor([[10.0, 20.0, 30.0]])
    last = 3.0
    middle = 2.0 + 0.9 * (0.5 * 20.0 + 0.5 * last)
    first = 1.0 + 0.9 * (0.5 * 10.0 + 0.5 * middle)
    got = r.lambda_returns(reward, discount, value, 0.5)
    assert torch.allclose(got, torch.tensor([[first, middle, last]]))


def test_lambda_zero_is_one_step():
    reward, discount, value = torch.randn(3, 2, 5).unbind(0)
    want = reward + discount * value
    assert torch.allclose(r.lambda_returns(reward, discount, value, 0.0), want)


def test_percentile_range_ignores_outliers():
    x = torch.arange(101.0)
    assert r.percentile_range(x).item() == pytest.approx(90.0)
    x[100] = 1e9
    assert r.percentile_range(x).item() == pytest.approx(90.0)
