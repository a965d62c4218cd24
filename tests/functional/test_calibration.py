"""Ranks and coverage: exact for a calibrated forecast, and telling for one that is not."""

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.functional.calibration import coverage, histogram, ranks

N, CASES = 19, 20_000


def forecast(spread):
    g = torch.Generator().manual_seed(0)
    samples, truth = torch.randn(N, CASES, generator=g), torch.randn(CASES, generator=g)
    return ranks(spread * samples, truth, torch.rand(CASES, generator=g))


def test_calibrated_forecast_covers_what_it_says():
    rank = forecast(1.0)
    assert coverage(rank, N, 0.5) == pytest.approx(0.5, abs=0.015)
    assert coverage(rank, N, 0.9) == pytest.approx(0.9, abs=0.01)
    assert max(abs(p - 1 / 20) for p in histogram(rank, N)) < 0.008


def test_too_little_and_too_much_spread_show():
    narrow, wide = forecast(0.3), forecast(3.0)
    assert coverage(narrow, N, 0.9) < 0.5
    assert histogram(narrow, N)[0] > 0.2
    assert coverage(wide, N, 0.5) > 0.7


def test_ranks_by_hand():
    samples = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    truth, u = torch.tensor([2.5, 0.0]), torch.tensor([0.9, 0.9])
    assert ranks(samples, truth, u).tolist() == [2, 3]
    assert ranks(samples, truth, 0 * u).tolist() == [2, 0]


def test_coverage_by_hand():
    rank = torch.tensor([0, 1, 5, 14, 15, 19])
    assert coverage(rank, N, 0.9) == pytest.approx(4 / 6)
    assert coverage(rank, N, 0.5) == pytest.approx(2 / 6)


def test_ties_are_shared_fairly():
    rank = ranks(torch.zeros(N, CASES), torch.zeros(CASES), torch.rand(CASES))
    assert max(abs(p - 1 / 20) for p in histogram(rank, N)) < 0.008


def test_interval_that_the_samples_do_not_have_is_refused():
    with pytest.raises(ConfigError, match="N = 8"):
        coverage(torch.zeros(3).long(), 8, 0.9)
