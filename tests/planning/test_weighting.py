"""Weights and moments against numbers worked out by hand."""

import math

import pytest
import torch

from aime_agent.planning.weighting import elite_weights, exponential_weights, weighted_moments

SCORES = torch.tensor([[1.0, 4.0, 2.0, 3.0], [9.0, 0.0, 0.0, 8.0]])


def test_elites_share_equally():
    expected = torch.tensor([[0, 0.5, 0, 0.5], [0.5, 0, 0, 0.5]])
    torch.testing.assert_close(elite_weights(SCORES, 2), expected)


def test_exponential_weights_are_the_softmax_of_returns_over_temperature():
    # exp(S / 0.5) relative to the best: e^-6, 1, e^-4, e^-2
    terms = [math.exp(-6), 1.0, math.exp(-4), math.exp(-2)]
    expected = torch.tensor([t / sum(terms) for t in terms])
    torch.testing.assert_close(exponential_weights(SCORES, 4, 0.5)[0], expected)


def test_exponential_weights_of_the_best_leave_out_the_rest():
    half = 1 / (1 + math.exp(-1))
    expected = torch.tensor([0.0, half, 0.0, 1 - half])
    torch.testing.assert_close(exponential_weights(SCORES, 2, 1.0)[0], expected)


def test_exponential_weights_survive_large_returns():
    found = exponential_weights(torch.tensor([[1e6, 1e6 - 1]]), 2, 1e-3)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(("count", "mean", "std"), [(1, 2.0, 0.0), (2, 1.0, 1.0)])
def test_moments_of_elites_by_hand(count, mean, std):
    actions = torch.tensor([7.0, 2.0, 5.0, 0.0]).reshape(1, 4, 1, 1)
    found = weighted_moments(actions, elite_weights(SCORES[:1], count))
    torch.testing.assert_close(found[0], torch.full((1, 1, 1), mean))
    torch.testing.assert_close(found[1], torch.full((1, 1, 1), std))


def test_moments_under_unequal_weights_by_hand():
    actions = torch.tensor([0.0, 4.0]).reshape(1, 2, 1, 1)
    mean, std = weighted_moments(actions, torch.tensor([[0.25, 0.75]]))
    assert mean.item() == pytest.approx(3.0)
    assert std.item() == pytest.approx(math.sqrt(0.25 * 9 + 0.75 * 1))
