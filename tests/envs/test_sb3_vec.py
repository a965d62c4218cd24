"""The adapter gives Stable-Baselines3 what its own DummyVecEnv gives it, transition for transition."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from aime_agent.envs.sb3_vec import VectorToSB3, info_list
from aime_agent.errors import ConfigError


class Walk(gym.Env):
    """A random walk that ends at the edge; tells its place, as an array or as a dictionary."""

    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    render_mode = None

    def __init__(self, named=False):
        self.named = named
        if named:
            self.observation_space = spaces.Dict({"place": Walk.observation_space})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2)
        return self.seen(), {"begun": float(self.place[0]), "options": str(options or {})}

    def step(self, action):
        self.place = self.place + 0.4 * action + 0.1 * self.np_random.normal(size=2)
        out = bool(np.abs(self.place).max() > 2)
        return self.seen(), float(self.place.sum()), out, False, {"radius": float(self.place[1])}

    def seen(self):
        place = self.place.clip(-9, 9).astype(np.float32)
        return {"place": place} if self.named else place

    def plus(self, x):
        return float(self.place[0]) + x

    def render(self):
        return np.full((4, 4, 3), 7, np.uint8)


def build(named=False):
    return lambda: TimeLimit(Walk(named), 6)


def adapter(mode, named=False, n=3):
    return VectorToSB3(SyncVectorEnv([build(named)] * n, autoreset_mode=mode))


def play(venv, steps=25):
    rng = np.random.default_rng(1)
    venv.seed(4)
    seen = [(venv.reset(), [dict(x) for x in venv.reset_infos])]
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (venv.num_envs, 1)).astype(np.float32)
        seen.append((*venv.step(actions), [dict(x) for x in venv.reset_infos]))
    return seen


@pytest.mark.parametrize("named", [False, True], ids=["box", "dict"])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_transitions_equal_those_of_dummy_vec_env(mode, named):
    expected, found = play(DummyVecEnv([build(named)] * 3)), play(adapter(mode, named))
    ended = [info for step in expected[1:] for info in step[3] if "terminal_observation" in info]
    assert {info["TimeLimit.truncated"] for info in ended} == {True, False}
    for theirs, ours in zip(expected, found, strict=True):
        np.testing.assert_equal(ours, theirs)


def test_cartpole_of_gymnasium_gives_the_same_too():
    ids = [lambda: gym.make("CartPole-v1", max_episode_steps=20)] * 2
    venvs = DummyVecEnv(ids), VectorToSB3(SyncVectorEnv(ids, autoreset_mode="SameStep"))
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, (60, 2))
    traces = []
    for venv in venvs:
        venv.seed(0)
        traces.append([venv.reset(), *(venv.step(a) for a in actions)])
    np.testing.assert_equal(*traces)
    assert sum(step[2].sum() for step in traces[0][1:]) >= 4


def test_a_next_step_environment_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="SAME_STEP"):
        adapter(AutoresetMode.NEXT_STEP)


def test_a_single_environment_is_refused():
    with pytest.raises(ConfigError, match="VectorEnv required, found TimeLimit"):
        VectorToSB3(build()())


def test_episode_statistics_reach_the_monitor():
    venv = VecMonitor(adapter(AutoresetMode.SAME_STEP))
    reports = [i["episode"] for step in play(venv)[1:] for i in step[3] if "episode" in i]
    assert {report["l"] for report in reports} >= {6}


def test_attributes_and_methods_reach_the_environments():
    venv = adapter(AutoresetMode.SAME_STEP)
    venv.reset()
    venv.set_attr("place", np.array([1.0, 0.0]), indices=[1])
    assert venv.env_method("plus", 2.0, indices=1) == [3.0]
    assert len(venv.env_method("plus", 0.0)) == 3
    assert venv.get_attr("render_mode") == [None] * 3
    assert venv.env_is_wrapped(TimeLimit) == [True] * 3
    assert venv.env_is_wrapped(RecordEpisodeStatistics, indices=0) == [False]
    assert not venv.has_attr("nothing")


def test_options_reach_the_reset_once_and_must_agree():
    venv = adapter(AutoresetMode.SAME_STEP)
    venv.set_options({"level": 2})
    venv.reset()
    assert [info["options"] for info in venv.reset_infos] == ["{'level': 2}"] * 3
    venv.reset()
    assert venv.reset_infos[0]["options"] == "{}"
    venv.set_options([{"level": 1}, {}, {}])
    with pytest.raises(ConfigError, match="one dictionary for all"):
        venv.reset()


class OneObject(VectorEnv):
    """Natively batched, and writes every step into the same memory."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    single_observation_space = spaces.Box(-99, 99, (1,), np.float32)
    single_action_space = spaces.Box(-1, 1, (1,), np.float32)
    num_envs, render_mode, speed = 2, None, 1.0

    def reset(self, *, seed=None, options=None):
        self.seen, self.step_index = np.zeros((2, 1), np.float32), 0
        return self.seen, {}

    def step(self, actions):
        self.seen += self.speed
        self.step_index += 1
        done = np.array([self.step_index % 4 == 0, False])
        last = self.seen.copy()
        self.seen[done] = 0
        infos = {"final_obs": last, "_final_obs": done} if done.any() else {}
        return self.seen, np.ones(2), done, np.zeros(2, bool), infos

    def double(self):
        return 2 * self.speed


def test_a_batched_environment_works_and_its_memory_is_not_shared():
    venv = VectorToSB3(OneObject())
    first = venv.reset()
    steps = [venv.step(np.zeros((2, 1))) for _ in range(4)]
    assert first[0] == 0
    assert steps[0][0][1] == 1
    assert steps[3][3][0]["terminal_observation"] == 4
    assert steps[3][0][0] == 0
    venv.set_attr("speed", 3.0)
    assert venv.env_method("double") == [6.0, 6.0]
    with pytest.raises(ConfigError, match="all 2 environments at once"):
        venv.env_method("double", indices=0)


def test_infos_are_split_by_their_masks():
    nested = {"b": np.array([1, 2]), "_b": np.array([True, True])}
    infos = {"a": nested, "_a": np.array([False, True]), "c": ["x", "y"]}
    assert info_list(infos, 2) == [{"c": "x"}, {"a": {"b": 2}, "c": "y"}]


def test_ppo_learns_through_the_adapter():
    model = PPO("MlpPolicy", VecMonitor(adapter("SameStep", n=2)), n_steps=8, batch_size=16)
    before = model.policy.state_dict()["action_net.weight"].clone()
    model.learn(16)
    assert (model.policy.state_dict()["action_net.weight"] != before).any()
    assert len(model.ep_info_buffer) > 0
