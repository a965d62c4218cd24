import pytest
import torch

from aime_agent.agents.randomness import seeded

CPU = torch.device("cpu")


def draw(*key):
    with seeded(*key, CPU):
        return torch.rand(3)


@pytest.mark.parametrize("other", [(1, "act", 7), (0, "update", 7), (0, "act", 8)])
def test_seed_stream_and_step_decide(other):
    assert torch.equal(draw(0, "act", 7), draw(0, "act", 7))
    assert not torch.equal(draw(0, "act", 7), draw(*other))


def test_the_global_state_is_restored_even_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(0, "act", 0, CPU):
        torch.rand(1).view(2)
    assert torch.equal(before, torch.get_rng_state())
