"""Stable-Baselines3 learns in a dream, is saved, and is measured in the real task by the same verbs."""

import json
import os
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from laws import randomised
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy

from aime_agent.cli.main import main
from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.storage import ShardStore
from aime_agent.envs.beliefs import BeliefObservation
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.policies.saving import load_policy, save_policy
from aime_agent.training import players
from aime_agent.training.collect import collect
from aime_agent.training.sb3 import dreams, settle, train_sb3
from aime_agent.training.sb3_player import Sb3Agent, observed_kind
from aime_agent.training.sb3_transfer import Score, Transfer, lines, score
from aime_agent.world_model.frozen import freeze
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SIDE, ACTIONS = 32, 2
TASK = "Drift-v0"


class Drift(gym.Env):
    """A square that drifts and is pushed for twelve steps; the reward is the first action."""

    observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (ACTIONS,), np.float32)
    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.left = int(self.np_random.integers(24)), 12
        return self.frame(), {}

    def step(self, action):
        self.x, self.left = int(np.clip(self.x + 2 * action[0], 0, 24)), self.left - 1
        return self.frame(), float(action[0]), False, self.left == 0, {}

    def frame(self):
        frame = np.zeros((SIDE, SIDE, 3), np.uint8)
        frame[10:16, self.x : self.x + 6] = 255
        return frame


@pytest.fixture(scope="module", autouse=True)
def task():
    gym.register(TASK, entry_point=Drift)
    yield
    del gym.registry[TASK]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a world model, and one with episodes to dream from."""
    home = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=SIDE, action_dim=ACTIONS))
    model.begin(torch.rand(32, 3, SIDE, SIDE))
    randomised(model, 0.15).save_pretrained(home / "world")
    replay = ReplayBuffer(ShardStore(home / "films", Layout((SIDE, SIDE, 3), ACTIONS, 64)))
    rng = np.random.default_rng(0)
    for _ in range(2):
        replay.add_episode(0, Episode(
            frames=rng.integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8),
            actions=rng.uniform(-1, 1, (10, ACTIONS)).astype(np.float32),
            rewards=np.zeros(10, np.float32),
            terminated=np.zeros(10, bool),
        ))  # fmt: skip
    replay.store.sync()
    return home


@pytest.fixture(scope="module")
def settings(place):
    return {
        "world": str(place / "world"), "start": str(place / "films"), "image_size": SIDE,
        "action_repeat": 1, "horizon": 6, "num_starts": 8, "eval_episodes": 2, "eval_dreams": 3,
        "num_envs": 4, "frames": 64, "context": 3,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """PPO for 2,048 steps in a dream, saved and measured in the real task."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train_sb3(TASK, inside_dream=True, out=str(out), **{**settings, "frames": 2048})
    return out, result


def test_ppo_learns_in_the_dream_and_plays_the_real_task(run, place):
    out, result = run
    config = json.loads((out / "config.json").read_text())
    assert config["sb3"]["frames"] == 2048
    assert "stable-baselines3" in config["versions"]
    assert len(result.dream.values) == 3
    assert len(result.real.values) == 2
    stored = json.loads((out / "transfer.json").read_text())
    assert stored["gap"] == pytest.approx(result.dream.mean - result.real.mean)
    model = PPO.load(out / "sb3.zip")
    assert model.num_timesteps == 2048
    env = BeliefObservation(Drift(), place / "world")
    scores, _ = evaluate_policy(
        model, env, n_eval_episodes=2, return_episode_rewards=True, warn=False
    )
    agent = Sb3Agent.load(out)
    theirs, _ = model.predict(env.reset(seed=5)[0], deterministic=True)
    ours, _ = agent.predict(Drift().reset(seed=5)[0])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.isfinite(scores).all()


def test_metrics_say_how_training_went(run):
    rows = [json.loads(x) for x in (run[0] / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["frames"] > 2000
    assert rows[-1]["return_per_1000_frames"] is not None


def test_runs_are_scored_and_played_like_those_of_an_agent(run, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # workers import this module
    out, result = run
    assert main(["eval", str(out), "--episodes", "2", "--out", str(tmp_path / "s.json")]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    np.testing.assert_allclose(
        np.array(scores["returns"]) * 1000 / 12, result.real.values, rtol=1e-6
    )
    assert TASK in capsys.readouterr().out
    folder = collect(TASK, policy=str(out), episodes=1, out=tmp_path / "data", image_size=SIDE)
    stored = ShardStore.open(folder)
    assert stored.layout.action_dim == ACTIONS
    stored.close()


def test_runs_are_filmed(run, tmp_path):
    words = [
        "record",
        str(run[0]),
        "--steps",
        "6",
        "--scale",
        "2",
        "--out",
        str(tmp_path / "f.mp4"),
    ]
    assert main(words) == 0
    assert (tmp_path / "f.mp4").stat().st_size > 1000


def test_an_interrupted_run_goes_on_to_its_end(settings, tmp_path, monkeypatch, capsys):
    steps = []

    def step(self, action, real=Drift.step):
        steps.append(action)
        if len(steps) == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, action)

    monkeypatch.setattr(Drift, "step", step)
    out = tmp_path / "run"
    more = settings | {"num_envs": 1, "frames": 40, "eval_episodes": 1, "out": str(out)}
    more |= {"algo": "sb3-sac", "features": "slots"}
    more |= {"sb3": {"batch_size": 4, "learning_starts": 8}, "checkpoint_every": 10}
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        train_sb3(TASK, **more)
    assert json.loads((out / "resume" / "state.json").read_text())["steps"] == 16
    with pytest.raises(ConfigError, match="frames must stay 40"):
        train_sb3(TASK, resume=True, out=str(out), frames=50)
    assert train_sb3(TASK, resume=True, out=str(out), eval_episodes=2).real is not None
    assert len(steps) == 17 + 24 + 2 * 24
    model = SAC.load(out / "sb3.zip")
    assert (model.num_timesteps, model._n_updates) == (40, 40 - 8)
    frames = [json.loads(x)["frames"] for x in (out / "metrics.jsonl").read_text().splitlines()]
    assert frames == list(range(1, 41))
    assert not (out / "resume").exists()
    with pytest.raises(ConfigError, match="come to its end"):
        train_sb3(TASK, resume=True, out=str(out))
    with pytest.raises(CheckpointError, match="to go on with required"):
        train_sb3(TASK, resume=True, out=str(tmp_path))


def test_what_needs_our_own_agent_says_so(run, capsys):
    assert main(["eval", str(run[0]), "--policy", "untrained"]) == 2
    assert "found one of Stable-Baselines3" in capsys.readouterr().err


def test_a_policy_trained_in_a_dream_knows_its_world(settings, place, tmp_path):
    env = dreams(settle(TASK, inside_dream=True, **settings), 2, 0)
    model = PPO("MlpPolicy", env, n_steps=4, batch_size=8)
    loaded = load_policy(save_policy(model, tmp_path))
    assert loaded.world == freeze(place / "world")


def test_a_policy_alone_plays_but_makes_no_environment(run):
    player = players.load_policy(run[0] / "policy")
    assert player.predict(Drift().reset(seed=0)[0])[0].shape == (ACTIONS,)
    with pytest.raises(ConfigError, match="found a policy alone"):
        player.make_env()


@pytest.mark.parametrize(
    ("algo", "features"),
    [("sb3-ppo", "belief"), ("sb3-sac", "objects"), ("sb3-ppo", "pixels"), ("sb3-sac", "pixels")],
)
def test_real_task_with_all_features(algo, features, settings, tmp_path):
    more = {**settings, "num_envs": 1, "eval_episodes": 1, "frames": 24, "image_size": 36}
    more |= {"image_size": SIDE} if features != "pixels" else {"world": "", "start": ""}
    sb3 = (
        {"n_steps": 8, "batch_size": 8}
        if algo == "sb3-ppo"
        else {"batch_size": 4, "buffer_size": 50}
    )
    out = tmp_path / "run"
    result = train_sb3(TASK, algo=algo, features=features, out=str(out), sb3=sb3, **more)
    assert len(result.real.values) == 1
    assert (result.dream is None) == (features == "pixels")
    first = Sb3Agent.load(out)
    scored = [json.loads((out / "transfer.json").read_text())["real"]["mean"]]
    assert scored[0] == pytest.approx(result.real.mean)
    assert observed_kind(first.player.policy.observation_space) == features


def test_stack_of_a_player_is_that_of_sb3(settings, tmp_path):
    out = tmp_path / "run"
    more = {**settings, "world": "", "start": "", "image_size": 36, "num_envs": 1}
    train_sb3(TASK, features="pixels", out=str(out), sb3={"n_steps": 8, "batch_size": 8}, **more)
    agent = Sb3Agent.load(out)
    env = agent.make_env()
    frames = [env.reset(seed=0)[0], *(env.step(np.ones(ACTIONS, np.float32))[0] for _ in range(3))]
    memory = None
    for frame in frames:
        _, memory = agent.predict(frame, memory)
    np.testing.assert_array_equal(memory.seen[0], np.concatenate(frames[-3:], -1))
    _, fresh = agent.predict(frames[0][None], memory, episode_start=np.array([True]))
    assert (fresh.seen[..., :6] == 0).all()


def test_command_prints_the_gap_and_refuses_what_means_nothing(settings, tmp_path, capsys):
    words = ["train", TASK, "--algo", "sb3-ppo", "--inside-dream", "--world", settings["world"]]
    words += [
        "--frames",
        "32",
        "--eval-episodes",
        "1",
        "--image-size",
        str(SIDE),
        "--num-envs",
        "2",
    ]
    for name in ("start", "horizon", "num_starts", "context", "eval_dreams"):
        words += ["--set", f"{name}={settings[name]}"]
    words += ["--set", "sb3.n_steps=8", "--set", "sb3.batch_size=8", "--action-repeat", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "transfer gap" in capsys.readouterr().out
    for extra, said in (
        (["--preset", "tiny"], "preset"),
        (["--resume", "--out", str(tmp_path / "run")], "come to its end"),
        (["--out", str(tmp_path / "run")], "holds a run already"),
    ):
        assert main([*words, *extra]) == 2
        assert said in capsys.readouterr().err
    assert main(["train", TASK, "--inside-dream"]) == 2
    assert "needs --algo" in capsys.readouterr().err


def test_dreams_are_measured_by_their_own_lengths(settings):
    found = score(np.array([1.0, 2.0, 3.0]))
    result = Transfer(found, None, Score(1.5, None, (1.5,)), None)
    assert result.gap == 0.5
    assert lines(result)[-1].split() == ["transfer", "gap", "0.5", "(dream", "-", "real)"]
    config = settle(TASK, inside_dream=True, **settings)
    env = dreams(config, 3, 0)
    assert env.observation_space == BeliefObservation(Drift(), settings["world"]).observation_space
    env.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"algo": "sb3-ppoo"}, "Did you mean 'sb3-ppo'"),
        ({"features": "slot"}, "slots"),
        ({"features": "pixels"}, "use none"),
        ({"world": ""}, "a run with a world model required"),
        ({"features": "pixels", "world": "", "inside_dream": True}, "a dream shows beliefs"),
        ({"horizon": 0}, "horizon must be an integer of at least 1"),
        ({"horizont": 3}, "no setting 'horizont'"),
        ({"inside_dream": True, "sb3": {"n_stepz": 3}}, "n_stepz"),
    ],
)
def test_what_cannot_work_is_refused(settings, tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        train_sb3(TASK, out=str(tmp_path / "run"), **{**settings, **change})


def test_a_missing_world_is_named(settings, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        train_sb3(TASK, out=str(tmp_path / "r"), **{**settings, "world": str(tmp_path / "nowhere")})
