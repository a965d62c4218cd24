"""Stored episodes come back bit for bit, and are played as their settings say."""

import numpy as np
import pytest

from aime_agent.errors import ConfigError, DataError
from aime_agent.training.bench.data import DataConfig, ensure, load, play, save

ARRAYS = ("frames", "actions", "rewards", "terminated")


def same(one, other):
    pairs = zip(one.episodes, other.episodes, strict=True)
    masks = zip(one.foregrounds, other.foregrounds, strict=True)
    return all(np.array_equal(a, b) for a, b in masks) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in ARRAYS
    )


def test_saved_episodes_come_back(stored, tmp_path):
    save(tmp_path / "x.npz", stored)
    found = load(tmp_path / "x.npz")
    assert same(found, stored)
    assert found.facts == stored.facts
    assert not same(found, stored.part([1, 0, 2, 3, 4]))


def test_damaged_file_is_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"not an archive")
    for path in (tmp_path / "x.npz", tmp_path / "absent.npz"):
        with pytest.raises(DataError, match=path.name):
            load(path)


@pytest.mark.render
def test_played_episodes_hold_actions_and_repeat_themselves(tmp_path):
    config = DataConfig(task="cartpole-swingup", episodes=2, steps=7, hold=3, image_size=32)
    found = load(ensure(tmp_path, config))
    assert same(found, play(config))
    one = found.episodes[0]
    assert len(one) == 8
    assert np.array_equal(one.actions[0], one.actions[2])
    assert not np.array_equal(one.actions[2], one.actions[3])
    assert one.rewards[0] == 0
    assert 0 < found.foregrounds[0].mean() < 0.2
    with pytest.raises(DataError, match=r"steps.: 8.* required"):
        ensure(tmp_path, DataConfig(task="cartpole-swingup", episodes=2, steps=8, image_size=32))


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"DataConfig\.hold must be at least 1, found 0"):
        DataConfig(task="x", hold=0)
