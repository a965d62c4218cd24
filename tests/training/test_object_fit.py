"""A world model fitted to stored episodes: what decides it, and what it never reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aime_agent.envs.segmentation import Parts
from aime_agent.errors import ConfigError
from aime_agent.training.object_fit import ObjectFitConfig, fit_world_model
from aime_agent.training.segmented import SegmentedEpisodes

PARTS = Parts(names=("world", "block"), parents=np.array([0, 0], np.int32))


def episodes(labels=1):
    """A block that walks over a dark floor, to the right by as much as the action says."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (2, 24, 2)).astype(np.float32)
    frames = np.full((2, 24, 32, 32, 3), 20, np.uint8)
    bodies = np.zeros((2, 24, 32, 32), np.uint16)
    for e, t in np.ndindex(2, 24):
        x = 4 + int(8 * (1 + actions[e, max(t - 1, 0), 0]))
        frames[e, t, 8:16, x : x + 8] = 240
        bodies[e, t, 8:16, x : x + 8] = labels
    rewards = np.zeros((2, 24), np.float32)
    return SegmentedEpisodes(frames, bodies, actions, rewards, PARTS, (0, 1))


def fit(data=None, updates=2, **changes):
    config = ObjectFitConfig(updates=updates, preset="tiny", batch_size=2, sequence_length=8)
    return fit_world_model(data or episodes(), replace(config, **changes)).model


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_seed_decides_everything_and_labels_nothing():
    first = weights(fit())
    assert torch.equal(first, weights(fit(episodes(labels=0))))
    assert not torch.equal(first, weights(fit(seed=1)))


def test_settings_reach_the_model_and_act():
    model = fit(settings={"attention_target": "change", "slots": {"map_power": 2.0}})
    assert model.config.attention_target == "change"
    assert model.slots.config.map_power == 2.0
    assert not torch.equal(weights(model), weights(fit()))


def test_fitting_lowers_the_error_of_a_frame():
    data = episodes()
    frames = torch.from_numpy(data.frames).permute(0, 1, 4, 2, 3)
    errors = []
    for updates in (1, 40):
        model = fit(data, updates)
        with torch.no_grad():
            out = model.forward_sequence(frames, torch.from_numpy(data.actions))
        errors.append((out.reconstructions - frames / 255).square().mean().item())
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("name", ["updates", "batch_size", "sequence_length"])
def test_counts_below_one_are_named(name):
    with pytest.raises(ConfigError, match=rf"ObjectFitConfig\.{name} must be at least 1, found 0"):
        ObjectFitConfig(**{"updates": 1, name: 0})


def test_unknown_settings_are_named():
    with pytest.raises(ConfigError, match="slot_evry"):
        fit(settings={"slot_evry": 4})
