import json
import os

import numpy as np
import pytest

from aime_agent.data.shard import Layout, Shard
from aime_agent.data.storage import ShardStore, shard_names
from aime_agent.errors import ConfigError, DataError

LAYOUT = Layout((4, 4, 3), 2, 8)


def row(k, layout=LAYOUT):
    frame = np.full(layout.frame_shape, k % 256, np.uint8)
    action = np.arange(layout.action_dim) * -2 * k + k
    return frame, np.array((action, k / 2, k % 5 == 4, k % 5 == 0), dtype=layout.step_dtype)


def fill(store, count, stream=0, start=0):
    for k in range(start, start + count):
        store.append(stream, *row(k, store.layout))


def rows(store, start, count, stream=0):
    frames = np.empty((count, *store.layout.frame_shape), np.uint8)
    steps = np.empty(count, store.layout.step_dtype)
    store.read(stream, start, frames, steps)
    return frames[:, 0, 0, 0].tolist(), steps["reward"].tolist()


def files(folder):
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_stretch_across_shards_is_what_was_written(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 20)
    assert rows(store, 5, 12) == (list(range(5, 17)), [k / 2 for k in range(5, 17)])


def test_records_of_a_stream_are_in_order(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 20)
    assert store.read_steps(0)["is_first"].nonzero()[0].tolist() == [0, 5, 10, 15]


def test_files_are_plain_npy(tmp_path):
    fill(ShardStore(tmp_path, LAYOUT), 3)
    steps = np.load(tmp_path / "env000/000000/steps.npy")
    assert steps["action"][:3].tolist() == [[0, 0], [1, -1], [2, -2]]


def test_unwritten_rows_take_no_space(tmp_path):
    fill(ShardStore(tmp_path, Layout((64, 64, 3), 6, 4096)), 1)
    used = sum(p.stat().st_blocks * 512 for p in tmp_path.rglob("*.npy"))
    assert used < 100_000


def test_stored_bytes_stay_near_raw_frames(tmp_path):
    layout = Layout((64, 64, 3), 6, 256)
    store = ShardStore(tmp_path, layout)
    fill(store, 512)
    used = sum(p.stat().st_size for p in tmp_path.rglob("*.npy"))
    assert used <= 1.02 * 512 * 64 * 64 * 3


def test_rollback_leaves_the_bytes_of_the_state(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 11)
    state, before = store.sync(), files(tmp_path)
    fill(store, 10, start=50)
    again = ShardStore(tmp_path, LAYOUT, state=json.loads(json.dumps(state)))
    again.collect()
    assert again.bounds(0) == (0, 11)
    assert files(tmp_path) == before


def test_appending_after_rollback_equals_never_stopping(tmp_path):
    whole = ShardStore(tmp_path / "a", LAYOUT)
    fill(whole, 30)
    part = ShardStore(tmp_path / "b", LAYOUT)
    fill(part, 11)
    state = part.sync()
    fill(part, 7, start=90)
    again = ShardStore(tmp_path / "b", LAYOUT, state=state)
    fill(again, 19, start=11)
    assert again.state() == whole.state()
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_manifest_opens_the_store(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, 2)
    fill(store, 9, stream=1)
    store.sync()
    assert rows(ShardStore.open(tmp_path), 0, 9, stream=1)[0] == list(range(9))


def test_records_from_a_row_on(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, max_bytes=3 * LAYOUT.shard_bytes)
    fill(store, 50)
    for start in (32, 39, 40, 47, 50):
        assert store.read_steps(0, start)["reward"].tolist() == [k / 2 for k in range(start, 50)]


def test_manifest_may_leave_out_what_came_after_a_mark(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, 2)
    fill(store, 11)
    marks = [store.stream_state(i) for i in range(2)]
    fill(store, 9, start=11)
    fill(store, 4, stream=1)
    store.sync(marks)
    again = ShardStore.open(tmp_path)
    assert [again.bounds(i) for i in range(2)] == [(0, 11), (0, 0)]
    fill(again, 9, start=11)
    assert rows(again, 0, 20) == rows(store, 0, 20)


def test_cap_removes_whole_oldest_shards(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, max_bytes=3 * LAYOUT.shard_bytes)
    fill(store, 50)
    assert store.bounds(0) == (32, 50)
    assert store.num_bytes <= 3 * LAYOUT.shard_bytes
    assert len(list(tmp_path.glob("env*/*"))) == 3


def test_deferred_shards_stay_until_nothing_names_them(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, max_bytes=3 * LAYOUT.shard_bytes, defer_deletion=True)
    fill(store, 20)
    state = store.sync()
    fill(store, 30, start=20)
    store.collect(shard_names(state))
    assert rows(ShardStore(tmp_path, LAYOUT, state=state), 0, 20)[0] == list(range(20))
    store.collect()
    with pytest.raises(DataError, match="missing"):
        ShardStore(tmp_path, LAYOUT, state=state)


def test_cap_takes_turns_between_streams(tmp_path):
    store = ShardStore(tmp_path, LAYOUT, 2, max_bytes=5 * LAYOUT.shard_bytes)
    for k in range(60):
        store.append(0, *row(k))
        store.append(1, *row(k))
    assert abs(store.bounds(0)[0] - store.bounds(1)[0]) <= LAYOUT.capacity


def test_flipped_bit_is_found(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 11)
    state = store.sync()
    path = tmp_path / "env000/000000/frames.npy"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"frames\.npy.*damaged"):
        ShardStore(tmp_path, LAYOUT, state=state)


def test_truncated_and_foreign_shards_are_named(tmp_path):
    Shard(tmp_path / "a", LAYOUT)
    with pytest.raises(DataError, match="another world"):
        Shard(tmp_path / "a", LAYOUT._replace(action_dim=3))
    os.truncate(tmp_path / "a/steps.npy", 3)
    with pytest.raises(DataError, match=r"steps\.npy: cannot be read"):
        Shard(tmp_path / "a", LAYOUT)


def test_full_disk_leaves_counted_rows_valid(tmp_path, monkeypatch):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 4)
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        fill(store, 1, start=4)
    monkeypatch.undo()
    ShardStore(tmp_path, LAYOUT, state=store.sync())
    assert store.bounds(0) == (0, 4)


def test_bad_rows_and_caps_are_named(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    frame, step = row(0)
    with pytest.raises(DataError, match=r"frame: uint8 \(4, 4, 3\) required, found float64"):
        store.append(0, frame.astype(float), step)
    with pytest.raises(DataError, match="step: "):
        store.append(0, frame, np.zeros(1))
    with pytest.raises(ConfigError, match="max_bytes must hold two shards"):
        ShardStore(tmp_path, LAYOUT, max_bytes=10)
    with pytest.raises(DataError, match="no readable manifest"):
        ShardStore.open(tmp_path / "nowhere")


def test_state_of_another_world_is_refused(tmp_path):
    store = ShardStore(tmp_path, LAYOUT)
    fill(store, 3)
    state = store.sync()
    with pytest.raises(DataError, match="format 1 required, found 9"):
        ShardStore(tmp_path, LAYOUT, state=state | {"version": 9})
    with pytest.raises(DataError, match="required, found Layout"):
        ShardStore(tmp_path, LAYOUT, 2, state=state)
