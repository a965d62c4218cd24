"""In a single process reductions change nothing; what needs two is in integration/test_two_ranks.py."""

import pytest
import torch

from aime_agent import distributed
from aime_agent.errors import ConfigError


def test_one_process_reduces_nothing():
    x = torch.arange(3.0, requires_grad=True)
    with distributed.start("cpu") as place, distributed.together():
        assert (place.rank, place.ranks, distributed.ranks(), distributed.rank()) == (0, 1, 1, 0)
        assert distributed.mean(x) is x
        assert distributed.total(x) is x
        assert distributed.gathered(x) is x
        distributed.average([x])
        distributed.broadcast([x])
        distributed.average_gradients([x])
    assert x.grad is None
    assert x.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("count", "expected"), [(5.0, 5.0), (0.0, 1.0)])
def test_shares_divide_by_the_count_and_never_by_zero(count, expected):
    assert distributed.share(torch.tensor(count)).item() == expected


def test_processes_without_a_number_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun"), distributed.start("cpu"):
        pass
