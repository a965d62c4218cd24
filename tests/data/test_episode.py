from types import SimpleNamespace

import numpy as np
import pytest

from aime_agent.data.episode import Episode
from aime_agent.errors import DataError


def make_episode(length=5, seed=0):
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (length, 4, 4, 3), dtype=np.uint8),
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=np.arange(length, dtype=np.float32),
        terminated=np.zeros(length, bool),
    )


def test_total_reward_sums_rewards_by_hand():
    assert make_episode(5).total_reward == 0 + 1 + 2 + 3 + 4


def test_arrays_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        make_episode().rewards[0] = 1


def test_callers_arrays_stay_writable():
    rewards = np.zeros(5, np.float32)
    e = make_episode()
    Episode(frames=e.frames, actions=e.actions, rewards=rewards, terminated=e.terminated)
    rewards[0] = 1


@pytest.fixture(scope="module")
def unchecked():
    """The same check without the shape checker of the test run, which would speak first."""
    return Episode.__post_init__


def test_other_lengths_are_named(unchecked):
    e = SimpleNamespace(**vars(make_episode()))
    e.rewards = e.rewards[:4]
    with pytest.raises(DataError, match=r"rewards: 5 rows required, found 4"):
        unchecked(e)


def test_nan_is_named():
    e = make_episode()
    bad = e.actions.copy()
    bad[2, 1] = np.nan
    with pytest.raises(DataError, match="actions: finite"):
        Episode(frames=e.frames, actions=bad, rewards=e.rewards, terminated=e.terminated)
