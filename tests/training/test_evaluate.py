"""Scores: known returns, known intervals, seeds and the file that repeats them."""

import json

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from aime_agent.errors import ConfigError
from aime_agent.training.evaluate import (
    EvalResult,
    evaluate,
    evaluation_seed,
    interval,
    random_policy,
    save_result,
    t_quantile,
    untrained,
    zero_policy,
)


class Counting(gym.Env):
    """Pays the action and 1 more per step; episodes last as many steps as the seed's last digit + 1."""

    observation_space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = seed % 10 + 1
        return np.zeros((4, 4, 3), np.uint8), {}

    def step(self, action):
        self.left -= 1
        reward = 1.0 + float(action[0])
        return np.zeros((4, 4, 3), np.uint8), reward, False, self.left == 0, {}


class Remembering:
    """A policy that records what it was told."""

    def __init__(self):
        self.calls = []

    def __call__(self, observation, state=None, episode_start=None, deterministic=True):
        self.calls.append((state, bool(episode_start[0]), deterministic))
        return np.zeros(1, np.float32), (state or 0) + 1


def test_returns_and_lengths_are_those_of_whole_episodes():
    result = evaluate(zero_policy(Counting.action_space), Counting(), 4, seed=3)
    lengths = tuple(evaluation_seed(3, k) % 10 + 1 for k in range(4))
    assert result.lengths == lengths
    assert result.returns == tuple(map(float, lengths))
    assert result.mean == pytest.approx(np.mean(lengths))


def test_state_is_threaded_and_dropped_between_episodes():
    policy = Remembering()
    result = evaluate(policy, Counting(), 3, seed=0)
    wanted = [(k or None, k == 0, True) for n in result.lengths for k in range(n)]
    assert policy.calls == wanted


def test_max_steps_cuts_episodes():
    assert max(evaluate(Remembering(), Counting(), 6, 1, max_steps=2).lengths) == 2


def test_same_seed_same_scores_and_other_seed_others():
    def score(seed):
        return evaluate(random_policy(Counting.action_space, seed), Counting(), 5, seed).returns

    assert score(1) == score(1) != score(2)


def test_random_policy_leaves_the_environments_space_alone():
    space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    space.seed(5)
    wanted = space.sample()
    space.seed(5)
    random_policy(space, 0)(None)
    assert np.array_equal(space.sample(), wanted)


def test_zero_policy_does_nothing_in_a_discrete_space():
    action, _ = zero_policy(gym.spaces.Discrete(4))(None)
    assert action == 0
    assert action.dtype == np.int64


def test_evaluation_draws_nothing_from_global_generators():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate(random_policy(Counting.action_space, 0), Counting(), 2, 0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30, 99, 1000])
def test_t_quantile_equals_scipy(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-8)


def test_interval_equals_scipy_and_needs_two_values():
    values = (3.0, 5.0, 4.0, 9.0)
    wanted = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval(values) == pytest.approx(wanted)
    assert interval((7.0,)) is None


def test_untrained_makes_a_new_agent_of_the_same_config():
    class Agent:
        def __init__(self, config, device):
            self.config, self.device, self.predict = config, device, Remembering()

    trained = Agent("settings", "cpu")
    predict = untrained(trained)
    assert predict is not trained.predict
    assert evaluate(predict, Counting(), 1, 0).lengths == (evaluation_seed(0, 0) % 10 + 1,)


def test_file_states_seeds_versions_quality_and_frames(tmp_path):
    result = EvalResult((1.0, 2.0), (3, 4), (11, 12), 1.5, (-4.9, 7.9))
    path = tmp_path / "new" / "scores.json"
    save_result(result, path, action_repeat=2, render_quality="fast", seed=7)
    found = json.loads(path.read_text())
    assert (found["frames"], found["seeds"], found["render_quality"]) == (14, [11, 12], "fast")
    assert found["interval"] == "student-t"
    assert "torch" in found["versions"]
    assert [p.name for p in path.parent.iterdir()] == ["scores.json"]


@pytest.mark.parametrize(
    ("name", "kw"), [("episodes", {"episodes": 0}), ("max_steps", {"max_steps": 0})]
)
def test_bad_option_is_named(name, kw):
    with pytest.raises(ConfigError, match=name):
        evaluate(Remembering(), Counting(), **{"episodes": 1, "seed": 0, **kw})
