import dataclasses

import pytest

from aime_agent.configs import from_dict, to_dict
from aime_agent.errors import ConfigError
from aime_agent.training.config import TrainConfig


def test_replay_ratio_by_hand():
    config = TrainConfig(task="x", train_every=4, updates_per_round=2, num_envs=2)
    assert config.replay_ratio == 2 * 8 * 16 / 8


def test_dictionary_gives_the_config_back():
    config = TrainConfig(task="x", world_model={"latent_dim": 3}, camera_id="side")
    assert from_dict(TrainConfig, to_dict(config)) == config


def test_fixed_hash_ignores_only_what_may_change():
    config = TrainConfig(task="x")
    for name, value in (("frames", 7), ("out", "y"), ("threads", 3)):
        assert dataclasses.replace(config, **{name: value}).fixed_hash() == config.fixed_hash()
    assert dataclasses.replace(config, seed=1).fixed_hash() != config.fixed_hash()
    assert {f.name for f in dataclasses.fields(config)} >= config.changeable


@pytest.mark.parametrize(
    ("field", "value"),
    [("frames", 0), ("image_size", 31), ("seed", -1), ("num_envs", True), ("task", "")],
)
def test_bad_values_name_the_field(field, value):
    with pytest.raises(ConfigError, match=f"TrainConfig.{field} must"):
        TrainConfig(**{"task": "x", field: value})


def test_prefill_must_fill_a_window():
    with pytest.raises(ConfigError, match=r"one window \(34 frames\), found 33"):
        TrainConfig(task="x", prefill_frames=33)
