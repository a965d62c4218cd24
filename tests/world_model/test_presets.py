"""The four presets: sizes, one step of training each, and how mistakes are answered."""

import pytest
import torch

from aime_agent.configs import from_dict, to_dict
from aime_agent.errors import ConfigError
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import PRESETS, preset

LARGEST = {"tiny": 0.3e6, "small": 3.0e6}
"""Parameters; `small` must train on two CPU cores."""


def count(model):
    return sum(p.numel() for p in model.parameters())


def train(model, steps, batch=2, length=4):
    """Some steps of Adam; returns the last losses and weights, and how far each parameter went."""
    side, width = model.config.image_size, model.config.action_dim
    frames = torch.rand(batch, length, 3, side, side)
    first = torch.zeros(batch, length, dtype=torch.bool)
    model.begin(frames.flatten(0, 1))
    actions, rewards = torch.rand(batch, length, width), torch.rand(batch, length)
    before = [p.detach().clone() for p in model.fitted_parameters()]
    adam, balancer = torch.optim.Adam(model.parameters(), 1e-3), model.make_balancer()
    for _ in range(steps):
        adam.zero_grad()
        losses = model.fit(SequenceData(frames, actions, first, rewards, first)).losses
        weights = balancer.backward(losses.per_task())
        adam.step()
    moved = [(p - b).abs().max() for p, b in zip(model.fitted_parameters(), before, strict=True)]
    return losses, weights, torch.stack(moved)


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_small_presets_train_and_stay_small(name):
    model = AimeWorldModel(preset(name))
    assert count(model) <= LARGEST[name]
    # What lies behind a layer that starts at zero moves from the second step on.
    losses, weights, moved = train(model, steps=2)
    assert losses.total.isfinite()
    assert ((moved > 0) & (moved < 0.1)).all()
    assert weights.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("name", ["base", "seed84"])
def test_large_presets_train_with_balanced_gradients(name):
    model = AimeWorldModel(preset(name))
    losses, weights, moved = train(model, steps=1, batch=1, length=2)
    assert losses.total.isfinite()
    assert moved.isfinite().all()
    assert (moved > 0).float().mean() > 0.8
    assert (weights[:3] > 0).all()
    assert weights[3] == 0


def test_base_has_the_seeds_sizes():
    c = preset("base")
    assert c == WorldModelConfig()
    assert (c.latent_dim, c.hidden_dim, c.context_dim, c.max_components) == (36, 512, 256, 15)
    assert (c.attention_resolution, c.perceiver_config().num_codes, c.use_rgb) == (21, 1024, True)


def test_seed84_has_the_seeds_sizes():
    c = preset("seed84")
    assert (c.image_size, c.hidden_dim, c.latent_dim, c.context_dim) == (84, 256, 32, 128)


def test_pillars_share_sizes_that_are_stated_once():
    c = preset("tiny", hidden_dim=40, latent_dim=7, context_dim=24, action_dim=21)
    assert c.feature_dim == 47
    assert c.prior_config().hidden_dim == 64
    assert {c.dynamics_config().action_dim, c.perceiver_config().action_dim} == {21}
    assert {c.encoder_config().latent_dim, c.decoder_config().latent_dim} == {7}
    assert {c.slots_config().hidden_dim, c.attention_prior_config().hidden_dim} == {40}


def test_nested_settings_change_single_fields_of_a_preset():
    c = preset("tiny", perceiver={"window": 3})
    assert c.perceiver["window"] == 3
    assert {**c.perceiver, "window": 0} == {**PRESETS["tiny"]["perceiver"], "window": 0}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name):
    c = preset(name)
    assert from_dict(WorldModelConfig, to_dict(c)) == c


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: preset("tinny"), r"'tinny' is unknown.*Did you mean 'tiny'"),
        (lambda: preset("tiny", hiden_dim=3), r"'hiden_dim'.*Did you mean 'hidden_dim'"),
        (lambda: AimeWorldModel(preset("tiny"), num_slotz=3), r"'num_slotz'.*'num_slots'"),
        (lambda: AimeWorldModel(preset("tiny", perceiver={"windw": 3})), r"'windw'.*'window'"),
        (lambda: preset("tiny", weights={"rewards": 3}), r"'rewards'.*'reward'"),
        (lambda: preset("tiny", weights={"reward": -1.0}), r"reward must be at least 0, found -1"),
    ],
)
def test_mistakes_name_the_nearest(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
