import json
import os
import signal
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from aime_agent.data.dataset import read_info, read_records
from aime_agent.data.splits import open_split
from aime_agent.errors import ConfigError, DataError
from aime_agent.training import collect as module
from aime_agent.training.collect import CollectConfig, collect
from aime_agent.training.collector import VectorLane
from aime_agent.training.players import (
    Seen,
    Turn,
    load_policy,
    noisy,
    predict_player,
    random_player,
)

SEEN = Seen(np.zeros((8, 8, 3), np.uint8), np.arange(4.0))
START = Turn(0, 0, 0)
SEND = VectorLane.send


@pytest.fixture(autouse=True)
def lanes(toy, monkeypatch):
    made = []

    def start_lane(task, **settings):
        made.append(settings)
        return toy.lane(None, 0)

    monkeypatch.setattr(module, "start_lane", start_lane)
    return made


def episodes(folder):
    split = open_split(folder, held_out=0)
    return {(s.env, s.number): e for s, e in zip(split.train.spans, split.train, strict=True)}


def same(a, b):
    names = ("frames", "actions", "rewards", "terminated")
    return all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in names)


def all_same(one, other):
    return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)


def interrupt_at(monkeypatch, count):
    calls = []

    def counted(self, action):
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return SEND(self, action)

    monkeypatch.setattr(VectorLane, "send", counted)


def test_collects_as_many_episodes_as_asked_for(tmp_path):
    folder = collect("toy", episodes=5, num_envs=2, out=tmp_path / "d")
    assert sorted(episodes(folder)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_collects_whole_episodes_up_to_the_frames_of_each_lane(tmp_path):
    found = episodes(collect("toy", frames=100, num_envs=2, action_repeat=2, out=tmp_path / "d"))
    for env in range(2):
        lengths = [len(e) - 1 for (i, _), e in sorted(found.items()) if i == env]
        assert 2 * sum(lengths) >= 50 > 2 * sum(lengths[:-1])


def test_episodes_are_those_of_the_environment(toy, tmp_path):
    found = episodes(collect("toy", episodes=3, seed=4, out=tmp_path / "d"))
    from aime_agent.training.seeding import episode_seed

    env = toy.ToyEnv()
    for (i, number), episode in found.items():
        assert np.array_equal(env.reset(seed=episode_seed(4, i, number))[0], episode.frames[0])
        for t, action in enumerate(episode.actions[:-1]):
            frame, reward, terminated, *_ = env.step(action)
            assert np.array_equal(frame, episode.frames[t + 1])
            assert np.float32(reward) == episode.rewards[t + 1]
            assert terminated == episode.terminated[t + 1]


def test_an_episode_depends_on_its_place_alone(tmp_path):
    alone = episodes(collect("toy", episodes=2, out=tmp_path / "a", noise=0.1))
    beside = episodes(collect("toy", episodes=6, out=tmp_path / "b", noise=0.1, num_envs=3))
    assert all(same(alone[key], beside[key]) for key in alone)


@pytest.mark.parametrize("count", [3, 41, 80])
def test_interrupted_and_resumed_equals_whole(tmp_path, monkeypatch, count):
    settings = {"episodes": 9, "num_envs": 2, "seed": 1}
    whole = collect("toy", out=tmp_path / "whole", **settings)
    interrupt_at(monkeypatch, count)
    with pytest.raises(KeyboardInterrupt, match="--resume --out"):
        collect("toy", out=tmp_path / "part", **settings)
    monkeypatch.setattr(VectorLane, "send", SEND)
    before = len(read_records(tmp_path / "part"))
    assert before < 9
    assert count < 20 or len(episodes(tmp_path / "part")) == before
    collect("toy", out=tmp_path / "part", resume=True, **settings)
    assert all_same(episodes(tmp_path / "part"), episodes(whole))
    assert (tmp_path / "part/dataset.json").read_text() == (whole / "dataset.json").read_text()


def test_more_episodes_go_on_where_the_others_ended(tmp_path):
    long = episodes(collect("toy", episodes=7, out=tmp_path / "long"))
    collect("toy", episodes=3, out=tmp_path / "d")
    more = episodes(collect("toy", episodes=7, out=tmp_path / "d", resume=True))
    assert all_same(more, long)


def test_a_dataset_keeps_its_settings_while_it_grows(tmp_path):
    settings = {"seed": 4, "num_envs": 2, "noise": 0.5, "policy": "zero"}
    long = episodes(collect("toy", episodes=6, out=tmp_path / "long", **settings))
    collect("toy", episodes=2, out=tmp_path / "d", **settings)
    more = episodes(collect("toy", episodes=6, out=tmp_path / "d", resume=True))
    assert all_same(more, long)


def test_a_failure_removes_what_it_began_and_nothing_else(tmp_path):
    def policy(*_, **__):
        (tmp_path / "new/other").mkdir(exist_ok=True)  # a collection that began beside this one
        return np.zeros((1, 9)), None

    with pytest.raises(DataError, match="2 actions"):
        collect("toy", policy=policy, episodes=1, out=tmp_path / "new/d")
    assert [x.name for x in (tmp_path / "new").iterdir()] == ["other"]


def test_description_says_what_was_done(tmp_path):
    folder = collect("toy", episodes=4, seed=3, hold=2, out=tmp_path / "d", render_quality="fast")
    info, records = read_info(folder), read_records(folder)
    assert (info.task, info.policy, info.seed, info.image_size) == ("toy", "random", 3, 64)
    assert (info.render_quality, info.settings["hold"]) == ("fast", 2)
    assert info.versions["torch"]
    found = episodes(folder)
    for record in records:
        episode = found[record.env, record.number]
        assert record.length == len(episode)
        assert record.total_reward == pytest.approx(episode.total_reward, abs=1e-12)
        assert record.terminated == episode.terminated[-1]


def test_random_actions_are_held(tmp_path):
    found = episodes(collect("toy", episodes=2, hold=3, out=tmp_path / "d"))
    actions = found[0, 0].actions[:-1]
    changes = (np.abs(np.diff(actions, axis=0)).sum(1) > 0).nonzero()[0] + 1
    assert changes.tolist() == list(range(3, len(actions), 3))


def test_random_actions_are_uniform():
    act = random_player(2, seed=0).act
    drawn = np.array([act(SEEN, None, Turn(0, 0, t))[0] for t in range(2000)])
    counts = np.histogram(drawn, bins=8, range=(-1, 1))[0]
    assert float(((counts - 500) ** 2 / 500).sum()) < 24.3  # χ², 7 degrees, p ≈ 1e-3


def test_zero_does_nothing(tmp_path):
    found = episodes(collect("toy", policy="zero", episodes=1, out=tmp_path / "d"))
    assert not found[0, 0].actions.any()


def test_noise_has_its_spread_and_stays_in_the_box():
    player = predict_player(lambda *_, **__: (np.zeros((1, 1)), None), "f", 0)
    act = noisy(player, 0.3, seed=1).act
    drawn = np.array([act(SEEN, None, Turn(0, 1, t))[0][0] for t in range(3000)])
    assert abs(drawn.std() - 0.3) < 0.02
    assert abs(drawn.mean()) < 0.02
    assert np.abs(np.array([noisy(player, 9.0, 0).act(SEEN, None, START)[0]])).max() <= 1


def test_a_function_is_shown_frames_and_keeps_its_memory(tmp_path):
    starts = []

    def policy(observation, state=None, episode_start=None, deterministic=True):
        assert observation.shape == (1, 32, 32, 3)
        state = 0 if episode_start[0] else state + 1
        starts.append(state)
        return np.full((1, 2), min(state / 20, 1.0)), state

    found = episodes(collect("toy", policy=policy, episodes=3, out=tmp_path / "d"))
    for episode in found.values():
        wanted = np.arange(len(episode) - 1, dtype=np.float32) / np.float32(20)
        assert np.allclose(episode.actions[:-1, 0], wanted)
    assert starts.count(0) == 3


def test_sampled_actions_depend_on_the_place():
    import torch

    policy = lambda *_, deterministic, **__: (torch.rand(1, 1).numpy(), None)  # noqa: E731
    act = predict_player(policy, "f", 5, sample=True).act
    drawn = [act(SEEN, None, turn)[0][0] for turn in (START, START, Turn(0, 0, 1), Turn(1, 0, 0))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), (1, 8, 8, 3)),
        (gym.spaces.Box(0, 255, (3, 8, 8), np.uint8), (1, 8, 8, 3)),
        (gym.spaces.Box(-1, 1, (4,)), (1, 4)),
        (
            gym.spaces.Dict(
                pixels=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
                state=gym.spaces.Box(-1, 1, (4,)),
            ),
            {"pixels": (1, 8, 8, 3), "state": (1, 4)},
        ),
    ],
)
def test_a_policy_sees_what_its_space_asks_for(space, shown):
    seen = []
    predict = lambda observation, **_: (seen.append(observation), (np.zeros((1, 2)), None))[1]  # noqa: E731
    player = predict_player(SimpleNamespace(predict=predict, observation_space=space), "p", 0)
    player.act(SEEN, None, START)
    found = {k: v.shape for k, v in seen[0].items()} if isinstance(seen[0], dict) else seen[0].shape
    assert found == shown
    assert player.needs_state == ("(4,)" in str(space))


def test_a_space_that_nobody_can_fill_is_named():
    stacked = SimpleNamespace(
        predict=lambda x: x, observation_space=gym.spaces.Box(0, 255, (9, 8, 8), np.uint8)
    )
    with pytest.raises(ConfigError, match="policy p: an observation space of pixels"):
        predict_player(stacked, "p", 0)


@pytest.mark.parametrize(
    ("space", "seen", "said"),
    [
        (gym.spaces.Box(-1, 1, (4,)), SEEN._replace(state=None), "the task shows pixels only"),
        (gym.spaces.Box(-1, 1, (5,)), SEEN, r"state of shape \(5,\) required, found \(4,\)"),
        (gym.spaces.Box(0, 255, (9, 9, 3), np.uint8), SEEN, r"pixels .* found \(8, 8, 3\)"),
    ],
)
def test_a_policy_of_another_world_is_refused(space, seen, said):
    policy = SimpleNamespace(predict=lambda x: x, observation_space=space)
    with pytest.raises(DataError, match=said):
        predict_player(policy, "p", 0).act(seen, None, START)


@pytest.fixture(scope="module")
def sb3_zip(toy, tmp_path_factory):
    from stable_baselines3 import PPO

    path = tmp_path_factory.mktemp("sb3") / "ppo.zip"
    model = PPO("CnnPolicy", _Big(toy.ToyEnv()), n_steps=8, batch_size=8, seed=0, device="cpu")
    model.save(path)
    return path, model


class _Big(gym.Wrapper):
    """Nature's CNN needs at least 36 pixels; the frames are edged with black."""

    observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)

    def reset(self, **kwargs):
        frame, info = self.env.reset(**kwargs)
        return np.pad(frame, ((4, 4), (4, 4), (0, 0))), info

    def step(self, action):
        frame, *rest = self.env.step(action)
        return np.pad(frame, ((4, 4), (4, 4), (0, 0))), *rest


def test_sb3_model_and_its_file_act_alike(sb3_zip):
    path, model = sb3_zip
    rng = np.random.default_rng(0)
    loaded = load_policy(path, trust_pickle=True)
    for t in range(5):
        seen = Seen(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), None)
        one, _ = predict_player(model, "m", 0).act(seen, None, Turn(0, 0, t))
        other, _ = predict_player(loaded, "z", 0).act(seen, None, Turn(0, 0, t))
        assert one.tolist() == other.tolist()
        assert one.shape == (2,)


def test_sb3_file_is_opened_on_trust_only(sb3_zip, tmp_path):
    with pytest.raises(ConfigError, match=r"cloudpickle, which can run any code.*--trust-pickle"):
        collect("toy", policy=str(sb3_zip[0]), episodes=1, out=tmp_path / "d")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(ConfigError, match="no readable Stable-Baselines3 model"):
        load_policy(tmp_path / "bad.zip", trust_pickle=True)
    with pytest.raises(ConfigError, match="no such file"):
        load_policy("nowhere.zip", trust_pickle=True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"policy": "randm", "episodes": 1}, "neither.*'random'"),
        ({"policy": 3, "episodes": 1}, "object with predict required, found int"),
        ({}, "either episodes or frames"),
        ({"episodes": 1, "frames": 1}, "either episodes or frames"),
        ({"episodes": 1, "hold": 0}, "hold must be at least 1"),
        ({"episodes": 1, "hold": 2, "policy": "zero"}, "hold must be 1 unless"),
        ({"episodes": 1, "noise": -1.0}, "noise must be at least 0"),
        ({"episodes": 1, "nois": 1.0}, "'noise'"),
    ],
)
def test_bad_settings_are_named_and_leave_nothing(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        collect("toy", out=tmp_path / "d", **settings)
    assert not (tmp_path / "d").exists()


def test_actions_that_do_not_fit_are_named_and_leave_nothing(tmp_path):
    for action, found in ((np.zeros((1, 6)), "2 actions"), (np.full((1, 2), 2.0), "found")):
        with pytest.raises(DataError, match=found):
            collect(
                "toy", policy=lambda *_, a=action, **__: (a, None), episodes=1, out=tmp_path / "d"
            )
        assert not (tmp_path / "d").exists()


def test_datasets_are_not_mixed(tmp_path):
    collect("toy", episodes=1, out=tmp_path / "d")
    with pytest.raises(ConfigError, match="holds a dataset already"):
        collect("toy", episodes=1, out=tmp_path / "d")
    with pytest.raises(ConfigError, match="seed must stay 0"):
        collect("toy", episodes=2, out=tmp_path / "d", resume=True, seed=1)
    with pytest.raises(ConfigError, match="hold must stay 1"):
        collect("toy", episodes=2, out=tmp_path / "d", resume=True, hold=2)
    with pytest.raises(ConfigError, match="nothing to resume"):
        collect("toy", episodes=2, out=tmp_path / "e", resume=True)
    (tmp_path / "f").mkdir()
    (tmp_path / "f/notes.txt").touch()
    with pytest.raises(ConfigError, match="something else already"):
        collect("toy", episodes=2, out=tmp_path / "f")


def test_a_runs_environment_is_the_default(tmp_path, monkeypatch, lanes):
    spec = SimpleNamespace(image_size=48, action_repeat=4, camera_id=1, render_quality="fast")
    agent = SimpleNamespace(
        config=spec, predict=lambda *_, **__: (np.zeros((1, 2), np.float32), None)
    )
    monkeypatch.setattr(module, "load_policy", lambda *_, **__: agent)
    folder = collect(
        "toy", policy="runs/x", episodes=1, out=tmp_path / "d", render_quality="minimal"
    )
    wanted = {**vars(spec), "render_quality": "minimal", "state": False}
    assert lanes == [wanted]
    assert read_info(folder).action_repeat == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x", "version": 1}'])
def test_damaged_description_is_named(tmp_path, text):
    folder = collect("toy", episodes=1, out=tmp_path / "d")
    (folder / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        open_split(folder, 0)


def test_config_counts_shares_exactly():
    config = CollectConfig(task="toy", episodes=7, num_envs=3)
    shares = [next(n for n in range(9) if config.has_enough(i, n, 0)) for i in range(3)]
    assert shares == [3, 2, 2]


def test_description_is_plain_json(tmp_path):
    folder = collect("toy", episodes=1, out=tmp_path / "d")
    assert json.loads((folder / "dataset.json").read_text())["format"] == "aime-agent dataset"
