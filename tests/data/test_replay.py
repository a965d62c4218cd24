import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.shard import Layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError, DataError

LAYOUT = Layout((4, 5, 3), 2, 8)


def make_replay(path, counts=(30,), layout=LAYOUT):
    """Row k of environment i shows k everywhere and has reward 100 i + k."""
    replay = ReplayBuffer(ShardStore(path, layout, len(counts)))
    for i, count in enumerate(counts):
        for k in range(count):
            frame = np.full(layout.frame_shape, k % 256, np.uint8)
            action = np.full(layout.action_dim, k / 100, np.float32)
            replay.add(i, frame, action, 100 * i + k, k % 7 == 6, k % 7 == 0)
    return replay


def rng(seed=0):
    return np.random.default_rng(seed)


def test_windows_are_consecutive_rows_of_one_environment(tmp_path):
    batch = make_replay(tmp_path, (30, 25)).sample(64, 6, rng())
    assert bool((batch.rewards.diff(dim=1) == 1).all())
    assert torch.equal(batch.rewards % 100, batch.observations[:, :, 0, 0, 0].float())
    assert torch.equal(batch.is_first, batch.rewards % 100 % 7 == 0)
    assert torch.equal(batch.terminated, batch.rewards % 100 % 7 == 6)


def test_batch_has_the_promised_shapes_and_types(tmp_path):
    batch = make_replay(tmp_path).sample(3, 6, rng())
    assert batch.observations.shape == (3, 6, 3, 4, 5)
    assert batch.observations.dtype == torch.uint8
    assert batch.actions.shape == (3, 6, 2)
    assert batch.actions.dtype == batch.rewards.dtype == torch.float32


def test_frames_are_a_permuted_view(tmp_path):
    observations = make_replay(tmp_path).sample(3, 6, rng()).observations
    assert observations.permute(0, 1, 3, 4, 2).is_contiguous()


def test_every_valid_window_is_equally_likely(tmp_path):
    batch = make_replay(tmp_path, (12, 4, 20)).sample(26_000, 5, rng())
    starts, counts = batch.rewards[:, 0].unique(return_counts=True)
    assert starts.tolist() == [*range(8), *range(200, 216)]
    expected = 26_000 / 24
    assert float(((counts - expected).square() / expected).sum()) < 55  # χ², 23 degrees, p ≈ 2e-4


def test_same_generator_gives_the_same_batch(tmp_path):
    replay = make_replay(tmp_path)
    one, two = replay.sample(4, 6, rng(3)), replay.sample(4, 6, rng(3))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_single_full_window_is_found(tmp_path):
    assert make_replay(tmp_path, (3, 6)).sample(2, 6, rng()).rewards[:, 0].tolist() == [100, 100]


def test_too_few_rows_are_named(tmp_path):
    with pytest.raises(DataError, match="6 rows in a stream required, found 8 in all"):
        make_replay(tmp_path, (4, 4)).sample(2, 6, rng())


def test_frames_are_distinct_and_from_all_streams(tmp_path):
    replay = make_replay(tmp_path, (20, 10))
    values = replay.frames(512, rng())[:, 0, 0, 0].tolist()
    assert sorted(values) == sorted([*range(20), *range(10)])
    assert len(replay.frames(7, rng())) == 7


def test_episodes_come_back_as_added(tmp_path):
    path = Path(__file__).with_name("test_episode.py")
    spec = importlib.util.spec_from_file_location("aime_test_episode", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    replay = ReplayBuffer(ShardStore(tmp_path, Layout((4, 4, 3), 2, 8)))
    added = [module.make_episode(length, length) for length in (5, 11, 3)]
    for episode in added:
        replay.add_episode(0, episode)
    for old, new in zip(added, list(replay.episodes(0)), strict=False):
        assert isinstance(new, Episode)
        assert np.array_equal(old.frames, new.frames)
        assert np.array_equal(old.actions, new.actions)
    assert len(list(replay.episodes(0))) == 2


@pytest.mark.parametrize(("action", "reward"), [([np.nan, 0], 0.0), ([0, 0], np.inf), ([0], 0.0)])
def test_bad_actions_and_rewards_are_refused(tmp_path, action, reward):
    replay = make_replay(tmp_path, (1,))
    frame = np.zeros(LAYOUT.frame_shape, np.uint8)
    with pytest.raises(DataError, match="environment 0"):
        replay.add(0, frame, np.array(action, np.float32), reward, False, False)


def test_planned_shards_fit_the_cap():
    layout = plan_layout((64, 64, 3), 6, 2, 100_000_000)
    assert 4 * 2 * layout.shard_bytes <= 100_000_000
    assert plan_layout((64, 64, 3), 6, 1, None).capacity == 4096
    with pytest.raises(ConfigError, match="replay_bytes must be at least"):
        plan_layout((64, 64, 3), 6, 1, 1000)


def test_sampling_takes_a_small_part_of_an_update(tmp_path):
    replay = make_replay(tmp_path, (2000,), Layout((64, 64, 3), 6, 4096))
    replay.sample(8, 16, rng())
    times = []
    for seed in range(20):
        start = time.perf_counter()
        replay.sample(8, 16, rng(seed))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005
