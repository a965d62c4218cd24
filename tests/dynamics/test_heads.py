"""Reward and continuation."""

import math

import pytest
import torch

from aime_agent.dynamics import ContinuationHead, RewardHead
from aime_agent.errors import ConfigError


def test_reward_starts_at_zero_and_uniform():
    head = RewardHead(4)
    logits = head(torch.randn(3, 5, 4))
    assert head.mean(logits).abs().max() < 1e-3
    assert torch.allclose(head.loss(logits, torch.rand(3, 5)), torch.tensor(math.log(127)))


def test_reward_head_fits_a_function():
    torch.manual_seed(0)
    head = RewardHead(1, 32)
    optimiser = torch.optim.Adam(head.parameters(), 3e-2)
    x = torch.linspace(0, 1, 64)[:, None]
    for _ in range(80):
        optimiser.zero_grad()
        head.loss(head(x), 2 * x[:, 0]).mean().backward()
        optimiser.step()
    assert (head.mean(head(x)) - 2 * x[:, 0]).abs().mean() < 0.1


def test_continuation_loss_by_hand():
    head = ContinuationHead(4)
    logits = torch.tensor([0.0, 2.0])
    want = torch.tensor([math.log(2), math.log(1 + math.exp(2))])
    assert torch.allclose(head.loss(logits, torch.tensor([True, False])), want)
    assert head.mean(logits)[0].item() == 0.5


@pytest.mark.parametrize("head", [RewardHead(4, 6), ContinuationHead(4, 6)])
def test_every_parameter_gets_a_gradient(head):
    for p in head.parameters():
        torch.nn.init.normal_(p)
    head.loss(head(torch.randn(5, 4)), torch.rand(5)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_keywords_act():
    count = [
        sum(p.numel() for p in RewardHead(4, **kw).parameters())
        for kw in ({}, {"units": 97}, {"num_bins": 129}, {"num_layers": 2})
    ]
    assert len(set(count)) == 4
    assert RewardHead(4, limit=2.0).bins[-1].item() == pytest.approx(math.exp(2) - 1)
    assert (
        len({sum(p.numel() for p in ContinuationHead(4, 64, n).parameters()) for n in (1, 2)}) == 2
    )


def test_works_in_float64():
    head = RewardHead(4).double()
    logits = head(torch.randn(3, 4).double())
    assert head.loss(logits, torch.rand(3).double()).dtype == torch.float64


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="num_bins must be odd and at least 3, found 10"):
        RewardHead(4, num_bins=10)
    with pytest.raises(ConfigError, match="limit must be positive"):
        RewardHead(4, limit=0.0)
