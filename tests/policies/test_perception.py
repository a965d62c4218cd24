"""Stacked frames perceived by a world model: blank frames are forgotten, fine-tuning has a gradient."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from aime_agent.errors import ConfigError
from aime_agent.policies.perception import PerceptionExtractor, first_seen, perceive_stack
from aime_agent.world_model.frozen import freeze

SPACE = spaces.Box(0, 255, (9, 32, 32), np.uint8)


@pytest.fixture
def stack():
    return torch.rand(2, 9, 32, 32, generator=torch.Generator().manual_seed(0))


def test_context_of_a_stack_is_that_of_the_sequence(world, stack):
    frames = stack.unflatten(1, (3, 3))
    with torch.no_grad():
        _, context, _ = perceive_stack(world, frames)
        expected = world.extract_context(frames)
    torch.testing.assert_close(context, expected[:, -1], atol=1e-5, rtol=1e-4)


def test_blank_frames_before_the_episode_change_nothing(world, stack):
    frames = stack.unflatten(1, (3, 3)).clone()
    frames[:, :2] = 0
    with torch.no_grad():
        padded = perceive_stack(world, frames)
        alone = perceive_stack(world, frames[:, 2:])
    for x, y in zip(padded, alone, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)


def test_episode_begins_after_the_last_blank_frame():
    frames = torch.ones(1, 4, 3, 2, 2)
    frames[0, :2] = 0
    assert first_seen(frames).tolist() == [[True, True, True, False]]


def test_frozen_world_is_no_part_of_the_policy_and_keeps_still(world, stack):
    extractor = PerceptionExtractor(SPACE, freeze(world))
    assert not [k for k in extractor.state_dict() if k.startswith(("world", "perception"))]
    extractor(stack).sum().backward()
    assert all(p.grad is None for p in extractor.world.model().parameters())
    assert all(p.grad is not None for p in extractor.parameters())


def test_fine_tuning_reaches_trunk_context_and_slots(world, stack):
    extractor = PerceptionExtractor(SPACE, freeze(world), finetune=True)
    weights = torch.rand(extractor.features_dim)
    (extractor(stack) * weights).sum().backward()
    for name in ("trunk", "perceiver", "encoder", "slots"):
        part = getattr(extractor.perception.model, name)
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters()), name
    assert not hasattr(extractor.perception.model, "decoder")


def test_fine_tuned_copy_starts_as_the_frozen_one(world, stack):
    torch.manual_seed(1)
    frozen = PerceptionExtractor(SPACE, freeze(world))
    torch.manual_seed(1)
    tuned = PerceptionExtractor(SPACE, freeze(world), finetune=True)
    torch.testing.assert_close(tuned(stack), frozen(stack))


def test_other_frames_are_refused(world):
    with pytest.raises(ConfigError, match="VecFrameStack"):
        PerceptionExtractor(spaces.Box(0, 255, (9, 64, 64), np.uint8), freeze(world))
