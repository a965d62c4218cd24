"""Datasets survive the way to Minari and back, and come from other people's Minari datasets."""

import itertools
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest

from aime_agent.cli.main import main
from aime_agent.data.dataset import DatasetInfo, read_info, read_records, write_info
from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.splits import open_split
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError, DataError, MissingDependencyError
from aime_agent.training import minari as module
from aime_agent.training.collect import collect
from aime_agent.training.minari import export_minari, import_minari

NAMES = ("frames", "actions", "rewards", "terminated")


def make_episode(number, length):
    rng = np.random.default_rng(number)
    rewards = rng.normal(size=length).astype(np.float32)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    terminated = np.zeros(length, bool)
    rewards[0], actions[-1], terminated[-1] = 0, 0, number % 2
    frames = rng.integers(0, 256, (length, 40, 40, 3), dtype=np.uint8)
    return Episode(frames=frames, actions=actions, rewards=rewards, terminated=terminated)


@pytest.fixture
def minari(tmp_path, monkeypatch):
    """The package, with a folder of its own for datasets."""
    package = pytest.importorskip("minari", reason="the extra minari is not installed")
    pytest.importorskip("pyarrow", reason="the extra minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return package


@pytest.fixture
def dataset(tmp_path):
    replay = ReplayBuffer(ShardStore(tmp_path / "data", Layout((40, 40, 3), 2, 16), 2))
    for number, length in enumerate((7, 12, 5, 9)):
        replay.add_episode(number % 2, make_episode(number, length))
    replay.store.sync()
    info = DatasetInfo(task="nothing-here", policy="random", image_size=40, settings={"hold": 3})
    write_info(tmp_path / "data", info, [])
    return tmp_path / "data"


def stored(folder):
    return list(open_split(folder, held_out=0).train)


def test_there_and_back_changes_no_bit(minari, dataset, tmp_path):
    assert export_minari(dataset, "test/pixels-v0") == "test/pixels-v0"
    back = import_minari("test/pixels-v0", tmp_path / "back")
    one, other = stored(dataset), stored(back)
    assert len(one) == len(other) == 4
    for a, b in zip(one, other, strict=True):
        for name in NAMES:
            assert getattr(a, name).dtype == getattr(b, name).dtype
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    info = read_info(back)
    assert (info.task, info.policy, info.settings["hold"]) == ("nothing-here", "random", 3)
    assert [r.length for r in read_records(back)] == [len(e) for e in one]


def test_minari_reads_steps_and_lossless_frames(minari, dataset):
    export_minari(dataset, "test/pixels-v0")
    found = minari.load_dataset("test/pixels-v0")
    assert not found.storage.jpeg_encoding
    assert found.total_steps == sum(len(e) - 1 for e in stored(dataset))
    for theirs, ours in zip(found.iterate_episodes(), stored(dataset), strict=True):
        assert np.array_equal(theirs.observations, ours.frames)
        assert np.array_equal(theirs.actions, ours.actions[:-1])
        assert np.array_equal(theirs.rewards, ours.rewards[1:])
        assert theirs.terminations.tolist() == ours.terminated[1:].tolist()
        assert theirs.truncations[-1] == (not ours.terminated[-1])
        assert not theirs.truncations[:-1].any()


@pytest.mark.render
def test_minari_makes_the_environment_of_the_frames(minari, dataset):
    info = DatasetInfo(
        task="cartpole-swingup", policy="zero", image_size=40, action_repeat=4, camera_id=1,
        render_quality="fast",
    )  # fmt: skip
    write_info(dataset, info, [])
    export_minari(dataset, "test/cartpole-v0")
    env = minari.load_dataset("test/cartpole-v0").recover_environment()
    config = env.unwrapped.config
    assert (config.image_size, config.action_repeat, config.camera_id) == (40, 4, 1)
    env.close()


def make_minari(minari, name, observations, space, actions, action_space):
    """A dataset of one episode, as somebody else would make it."""
    buffer = minari.data_collector.EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=np.arange(1.0, 1 + len(actions)),
        terminations=np.zeros(len(actions), bool),
        truncations=np.arange(len(actions)) == len(actions) - 1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is (set to )?None")
        minari.create_dataset_from_buffers(
            name, [buffer], observation_space=space, action_space=action_space,
            data_format="arrow", jpeg_encoding=False,
        )  # fmt: skip


FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 48, 3), dtype=np.uint8)
NO_ACTION = np.zeros((1, 2), np.float32)
PIXELS = gym.spaces.Box(0, 255, (64, 48, 3), np.uint8)


def test_box_actions_are_scaled_and_rewards_arrive_one_row_later(minari, tmp_path):
    box = gym.spaces.Box(np.float32([0, -2]), np.float32([4, 2]), dtype=np.float32)
    actions = np.float32([[0, -2], [4, 2], [1, 0]])
    make_minari(minari, "test/box-v0", FRAMES, PIXELS, actions, box)
    (episode,) = stored(import_minari("test/box-v0", tmp_path / "d"))
    assert episode.actions.tolist() == [[-1, -1], [1, 1], [-0.5, 0], [0, 0]]
    assert episode.rewards.tolist() == [0, 1, 2, 3]
    assert np.array_equal(episode.frames, FRAMES)


def test_discrete_actions_become_ones(minari, tmp_path):
    space = gym.spaces.Discrete(3, start=5)
    make_minari(minari, "test/discrete-v0", FRAMES, PIXELS, np.array([5, 7, 6]), space)
    (episode,) = stored(import_minari("test/discrete-v0", tmp_path / "d"))
    assert episode.actions.argmax(1).tolist()[:3] == [0, 2, 1]
    assert episode.actions.sum(1).tolist() == [1, 1, 1, 0]


def test_frames_in_a_dictionary_are_found_and_scaled(minari, tmp_path):
    box = gym.spaces.Box(-1, 1, (2,), np.float32)
    frames = np.random.default_rng(1).integers(0, 256, (4, 64, 96, 3), dtype=np.uint8)
    pixels = gym.spaces.Box(0, 255, frames.shape[1:], np.uint8)
    space = gym.spaces.Dict(pixels=pixels, speed=gym.spaces.Box(-1, 1, (1,), np.float32))
    observations = {"pixels": frames, "speed": np.zeros((4, 1), np.float32)}
    make_minari(minari, "test/dict-v0", observations, space, np.zeros((3, 2), np.float32), box)
    (episode,) = stored(import_minari("test/dict-v0", tmp_path / "d", image_size=32))
    assert episode.frames.shape == (4, 32, 32, 3)
    by_hand = frames.reshape(4, 32, 2, 32, 3, 3).mean((2, 4))
    assert np.abs(episode.frames - by_hand).max() <= 1


def test_what_cannot_be_copied_is_named(minari, dataset, tmp_path, capsys):
    export_minari(dataset, "test/pixels-v0")
    for words, said in (
        (
            f"export {dataset} --minari test/pixels-v0",
            "Minari has a dataset 'test/pixels-v0' already",
        ),
        (f"export {dataset} --minari nonsense", "a version), found 'nonsense'"),
        (f"export {tmp_path}/nowhere --minari test/x-v0", "no such dataset folder"),
        (
            f"import test/unknown-v0 --out {tmp_path}/x",
            "'test/unknown-v0' cannot be read (--download fetches it",
        ),
        (f"import test/pixels-v0 --out {dataset}", "holds something already"),
    ):
        assert main(words.split()) == 2
        assert said in capsys.readouterr().err
    box = gym.spaces.Box(-1, 1, (2,), np.float32)
    make_minari(minari, "test/state-v0", np.zeros((2, 2), np.float32), box, NO_ACTION, box)
    with pytest.raises(DataError, match="uint8 frames"):
        import_minari("test/state-v0", tmp_path / "y")
    endless = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    make_minari(minari, "test/inf-v0", FRAMES, PIXELS, np.zeros((3, 2), np.float32), endless)
    with pytest.raises(ConfigError, match="bounded Box"):
        import_minari("test/inf-v0", tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_what_was_interrupted_half_way_leaves_nothing(minari, dataset, tmp_path, monkeypatch):
    def interrupted(*args):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    for name, copy in (
        ("_buffer", lambda: export_minari(dataset, "test/again-v0")),
        ("_episode", lambda: import_minari("test/again-v0", tmp_path / "copy")),
    ):
        original, calls = getattr(module, name), itertools.count(1)
        monkeypatch.setattr(module, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy()
        monkeypatch.setattr(module, name, original)
        copy()
    assert len(stored(tmp_path / "copy")) == 4


def test_an_import_is_not_gone_on_with(minari, dataset, tmp_path):
    export_minari(dataset, "test/pixels-v0")
    import_minari("test/pixels-v0", tmp_path / "copy")
    with pytest.raises(ConfigError, match="it was not collected here"):
        collect("nothing-here", episodes=9, resume=True, out=tmp_path / "copy")


def test_a_taken_id_is_refused_before_anything_is_collected(minari, dataset, tmp_path, capsys):
    export_minari(dataset, "test/pixels-v0")
    words = f"collect walker-walk --episodes 1 --out {tmp_path}/d --minari test/pixels-v0"
    assert main(words.split()) == 2
    assert "minari delete test/pixels-v0" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_without_minari_the_extra_is_named(monkeypatch, dataset):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'aime-agent\[minari\]'"):
        export_minari(dataset, "test/pixels-v0")
