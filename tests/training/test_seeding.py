import torch

from aime_agent.training.seeding import episode_seed, numpy_rng, torch_generator


def test_streams_and_counters_differ():
    draws = {numpy_rng(*a).integers(2**62) for a in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))}
    assert len(draws) == 4


def test_a_position_repeats_its_draw():
    one = torch.randn(5, generator=torch_generator(3, "act", 7))
    torch.manual_seed(99)
    assert torch.equal(one, torch.randn(5, generator=torch_generator(3, "act", 7)))


def test_numbers_are_pinned():
    assert episode_seed(0, 0, 0) == 341094691
    assert int(numpy_rng(0, "replay", 5).integers(1000)) == 772


def test_episode_seeds_fit_31_bits_and_differ():
    seeds = {episode_seed(1, env, k) for env in range(20) for k in range(50)}
    assert len(seeds) == 1000
    assert max(seeds) < 2**31
