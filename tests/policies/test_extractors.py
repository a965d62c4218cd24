"""Features of slots do not depend on their order; what is missing is named."""

import pytest
import torch
from gymnasium import spaces

from aime_agent.envs.belief_spaces import belief_space
from aime_agent.errors import ConfigError
from aime_agent.policies.extractors import BeliefExtractor, SlotExtractor, SlotPool, slot_tokens

SLOTS = 3
ORDER = torch.tensor([2, 0, 1])


@pytest.fixture
def observations(make_single):
    space = belief_space(make_single().tracker.filter.model.config, "objects")
    space.seed(0)
    samples = [space.sample() for _ in range(4)]
    return {k: torch.stack([torch.from_numpy(s[k]) for s in samples]) for k in space.spaces}


def permuted(observations):
    def turn(x):
        return x.unflatten(-1, (SLOTS, -1))[:, ORDER].flatten(1)

    return {k: v if k == "belief" else turn(v) for k, v in observations.items()}


@pytest.mark.parametrize("kind", ["slots", "objects"])
def test_slots_may_come_in_any_order(make_single, observations, kind):
    extractor = SlotExtractor(make_single(kind).observation_space, num_slots=SLOTS).double()
    seen = {
        k: v.double()
        for k, v in observations.items()
        if kind == "objects" or k in ("belief", "slots")
    }
    features = extractor(seen)
    torch.testing.assert_close(extractor(permuted(seen)), features, atol=1e-9, rtol=0)
    assert features.shape == (4, extractor.features_dim)


def test_every_part_of_the_observation_matters(make_single, observations):
    extractor = SlotExtractor(make_single("objects").observation_space)
    before = extractor(observations)
    for key in observations:
        changed = {**observations, key: observations[key].roll(1, 0) * 0.9}
        assert (extractor(changed) - before).abs().max() > 1e-4, key


def test_tokens_are_slot_centre_and_mass(observations):
    tokens = slot_tokens(observations, SLOTS)
    one = tokens[3, 1]
    torch.testing.assert_close(one[:24], observations["slots"][3, 24:48])
    torch.testing.assert_close(one[24:26], observations["centers"][3, 2:4])
    assert one[26] == observations["mass"][3, 1]


def test_slots_exchange_information_before_they_are_pooled():
    pool = SlotPool(5).double()
    a, b, c = torch.randn(3, 1, 1, 5, dtype=torch.float64)
    mixed = pool(torch.cat([a, b], 1)) - pool(torch.cat([a, c], 1))
    other = pool(torch.cat([b, b], 1)) - pool(torch.cat([b, c], 1))
    assert (mixed - other).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["belief", "objects"])
def test_every_parameter_gets_a_gradient(make_single, observations, kind):
    cls = SlotExtractor if kind == "objects" else BeliefExtractor
    extractor = cls(make_single(kind).observation_space)
    seen = observations if kind == "objects" else observations["belief"]
    extractor(seen).square().mul(torch.rand(extractor.features_dim)).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in extractor.parameters())


def test_what_is_missing_is_named(make_single):
    with pytest.raises(ConfigError, match="num_slots must divide the 72 numbers"):
        SlotExtractor(make_single("slots").observation_space)
    with pytest.raises(ConfigError, match="a vector 'slots' required"):
        SlotExtractor(make_single().observation_space)
    with pytest.raises(ConfigError, match="BeliefObservation"):
        BeliefExtractor(spaces.Discrete(3))
