import json

import numpy as np
import pytest
import torch

from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.splits import (
    EpisodeSet,
    EpisodeSpan,
    fingerprint,
    list_episodes,
    open_split,
    read_episode,
    split_episodes,
)
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError, DataError

LAYOUT = Layout((4, 4, 3), 2, 16)


def make_episode(number, env=0, length=None, ends=True):
    """Every value tells the episode and the row: pixel (0, 0) is the number, (0, 1) the row."""
    length = length or 5 + (number + env) % 4
    rng = np.random.default_rng([number, env])
    frames = rng.integers(0, 256, (length, *LAYOUT.frame_shape), dtype=np.uint8)
    frames[:, 0, 0] = number + 100 * env
    frames[:, 0, 1] = np.arange(length)[:, None]
    terminated = np.zeros(length, bool)
    terminated[-1] = ends
    return Episode(
        frames=frames,
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=rng.normal(size=length).astype(np.float32),
        terminated=terminated,
    )


def make_store(folder, counts=(20,), ends=True):
    replay = ReplayBuffer(ShardStore(folder, LAYOUT, len(counts)))
    for env, count in enumerate(counts):
        for number in range(count):
            replay.add_episode(env, make_episode(number, env, ends=ends))
    replay.store.sync()
    return replay.store


def spans(count, env=0):
    return [EpisodeSpan(env, k, 10 * k, 10) for k in range(count)]


def test_episodes_are_found_with_start_and_length(tmp_path):
    found = list_episodes(make_store(tmp_path, (3, 2)))
    assert found == [
        EpisodeSpan(0, 0, 0, 5),
        EpisodeSpan(0, 1, 5, 6),
        EpisodeSpan(0, 2, 11, 7),
        EpisodeSpan(1, 0, 0, 6),
        EpisodeSpan(1, 1, 6, 7),
    ]


def test_last_episode_counts_only_if_its_end_is_known(tmp_path):
    store = make_store(tmp_path, (3,), ends=False)
    assert len(list_episodes(store)) == 2
    assert len(list_episodes(store, ended=[(0, 18)])) == 3
    assert len(list_episodes(store, ended=[(0, 17)])) == 2


def test_fingerprint_tells_episodes_in_the_same_rows_apart(tmp_path):
    marks = []
    for k, numbers in enumerate((range(10), range(10), (*range(8), 12, 13))):
        replay = ReplayBuffer(ShardStore(tmp_path / str(k), LAYOUT))
        for number in numbers:
            replay.add_episode(0, make_episode(number, length=7))
        replay.store.sync()
        marks.append(fingerprint(open_split(tmp_path / str(k))))
    assert marks[0] == marks[1] != marks[2]
    assert fingerprint(open_split(tmp_path / "0", seed=1)) != marks[0]


def test_stream_without_rows_has_no_episodes(tmp_path):
    assert {s.env for s in list_episodes(make_store(tmp_path, (0, 2)))} == {1}


def test_rows_before_the_first_start_belong_to_no_episode(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, max_bytes=2 * LAYOUT.shard_bytes)
    replay = ReplayBuffer(store)
    for number in range(10):
        replay.add_episode(0, make_episode(number))
    found = list_episodes(store)
    assert found[0].start > store.bounds(0)[0] > 0
    assert read_episode(store, found[-1]).frames[0, 0, 0, 0] == 9


def test_sets_are_disjoint_and_complete(tmp_path):
    store = make_store(tmp_path, (13, 11))
    train, held = split_episodes(list_episodes(store), 2, 0.25, seed=3)
    assert sorted(train + held) == list_episodes(store)
    assert set(train).isdisjoint(held)
    assert len(held) == 6


@pytest.mark.parametrize(("share", "count", "held"), [(0.2, 50, 10), (0.1, 40, 4), (0.3, 10, 3)])
def test_share_is_exact_over_whole_blocks(share, count, held):
    for seed in range(5):
        assert len(split_episodes(spans(count), 1, share, seed)[1]) == held


def test_split_depends_on_the_seed_alone():
    halves = [split_episodes(spans(100), 1, 0.2, seed) for seed in (0, 0, 1)]
    assert halves[0] == halves[1] != halves[2]
    # Pinned: a silent change would move episodes of datasets that were split before.
    assert [s.number for s in halves[0][1]][:6] == [4, 8, 11, 18, 22, 29]


def test_more_episodes_never_change_sides():
    few, many = (split_episodes(spans(n), 1, 0.15, seed=7) for n in (23, 300))
    assert set(few[0]) <= set(many[0])
    assert set(few[1]) <= set(many[1])


def test_every_place_in_a_block_is_held_out_about_equally_often():
    held = [s.number % 5 for seed in range(40) for s in split_episodes(spans(500), 1, 0.2, seed)[1]]
    counts = np.bincount(held, minlength=5)
    assert float(((counts - 800) ** 2 / 800).sum()) < 18.5  # χ², 4 degrees, p ≈ 1e-3


def test_windows_stay_inside_their_set(tmp_path):
    store = make_store(tmp_path, (30, 30))
    for some in split_episodes(list_episodes(store), 2, 0.3, seed=1):
        allowed = {s.number + 100 * s.env for s in some}
        batch = EpisodeSet(store, some).sample(500, 4, np.random.default_rng(0))
        assert set(batch.observations[:, :, 0, 0, 0].unique().tolist()) == allowed


def test_windows_are_successive_rows(tmp_path):
    store = make_store(tmp_path, (30,))
    train, _ = split_episodes(list_episodes(store), 1, 0.3, seed=1)
    batch = EpisodeSet(store, train).sample(300, 4, np.random.default_rng(0))
    number, row = (batch.observations[:, :, 0, 0, k].int() for k in (0, 1))
    goes_on = (number.diff(dim=1) == 0) & (row.diff(dim=1) == 1)
    next_one = (number.diff(dim=1) == 1) & (row[:, 1:] == 0) & batch.terminated[:, :-1]
    assert bool((goes_on | next_one).all())
    assert bool(next_one.any())
    assert torch.equal(batch.is_first, row == 0)


def test_every_window_of_a_set_is_equally_likely(tmp_path):
    store = make_store(tmp_path, (12,))
    some = EpisodeSet(store, [s for s in list_episodes(store) if s.number in (0, 4, 5)])
    batch = some.sample(20_000, 4, np.random.default_rng(0))
    code = batch.observations[:, 0, 0, 0, 0].int() * 16 + batch.observations[:, 0, 0, 0, 1].int()
    starts, counts = code.unique(return_counts=True)
    assert len(starts) == (5 - 3) + (5 + 6 - 3)
    expected = 20_000 / len(starts)
    assert float(((counts - expected) ** 2 / expected).sum()) < 28  # χ², 9 degrees, p ≈ 1e-3


def test_held_out_episodes_are_the_originals_bit_for_bit(tmp_path):
    make_store(tmp_path, (12, 12))
    split = open_split(tmp_path, held_out=0.25, seed=0)
    assert len(split.held_out) == 6
    for span, found in zip(split.held_out.spans, split.held_out, strict=True):
        known = make_episode(span.number, span.env)
        for name in ("frames", "actions", "rewards", "terminated"):
            assert getattr(found, name).tobytes() == getattr(known, name).tobytes()


def test_frames_come_from_the_set_alone(tmp_path):
    store = make_store(tmp_path, (12,))
    some = EpisodeSet(store, [s for s in list_episodes(store) if s.number in (2, 7)])
    frames = some.frames(1000, np.random.default_rng(0))
    assert len(frames) == some.num_rows
    assert set(frames[:, 0, 0, 0].tolist()) == {2, 7}


def test_reading_changes_nothing_while_another_one_writes(tmp_path):
    replay = ReplayBuffer(make_store(tmp_path / "replay", (9,)))
    replay.add_episode(0, make_episode(9))
    replay.add_episode(0, make_episode(10))
    split = open_split(tmp_path, held_out=0.2)
    assert len(split.train) + len(split.held_out) == 9
    with pytest.raises(DataError, match="reading only"):
        split.train.store.append(0, *[np.zeros(())] * 2)
    last = list_episodes(replay.store)[-1]
    assert np.array_equal(read_episode(replay.store, last).frames, make_episode(10).frames)


def test_what_cannot_be_split_is_said(tmp_path):
    make_store(tmp_path / "few", (3,))
    with pytest.raises(DataError, match=r"at least 5 complete episodes required.*found 3"):
        open_split(tmp_path / "few")
    assert len(open_split(tmp_path / "few", held_out=0).train) == 3
    make_store(tmp_path / "none", (1,), ends=False)
    with pytest.raises(DataError, match="at least 1 complete"):
        open_split(tmp_path / "none", held_out=0)
    with pytest.raises(DataError, match="no such dataset folder"):
        open_split(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"between 0 and 0\.5, found 0\.6"):
        split_episodes(spans(3), 1, 0.6)
    with pytest.raises(DataError, match="9 rows in a stream required"):
        open_split(tmp_path / "few", held_out=0.5).held_out.sample(1, 9, np.random.default_rng(0))


@pytest.mark.parametrize("cut", [0, 20, -3])
def test_half_written_manifest_is_named(tmp_path, cut):
    make_store(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text[:cut])
    with pytest.raises(DataError, match=r"manifest\.json: no readable manifest"):
        open_split(tmp_path)


@pytest.mark.parametrize("change", [{"streams": None}, {"streams": [[1]]}, {"layout": [1, 2]}])
def test_foreign_manifest_is_named(tmp_path, change):
    make_store(tmp_path)
    state = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(state | change))
    with pytest.raises(DataError, match=r"manifest\.json"):
        open_split(tmp_path)
