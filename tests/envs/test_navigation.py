"""`AIME/Navigation2D-v0`: the contract, one step by hand, what returns mean, what stays hidden."""

import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import aime_agent  # noqa: F401  (registers the id)
from aime_agent.envs.navigation import Navigation2DEnv, Navigation2DTask, NavigationTasks
from aime_agent.errors import ConfigError, DataError

STILL = np.zeros(2, np.float32)


@pytest.mark.parametrize("settings", [{}, {"render_mode": "rgb_array"}, {"end_at_goal": True}])
def test_checkers_find_nothing(settings):
    env = gymnasium.make("AIME/Navigation2D-v0", **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=not env.render_mode)
        check_for_sb3(env.unwrapped)
    assert [str(warning.message) for warning in caught] == []


def test_one_step_by_hand():
    env = Navigation2DEnv((0.4, 0.2))
    np.testing.assert_array_equal(env.reset()[0], [0, 0])
    observation, reward, terminated, truncated, info = env.step(np.array([1.0, -1.0]))
    np.testing.assert_allclose(observation, [0.1, -0.1], rtol=1e-6)
    assert reward == pytest.approx(-np.hypot(0.3, 0.3))
    assert info["distance"] == -reward
    assert (terminated, truncated) == (False, False)


def mean_return(policy, episodes, seed=0):
    """Return of ``policy(position, goal, rng)`` over goals."""
    rng = np.random.default_rng(seed)
    tasks, total = NavigationTasks(seed), 0.0
    env = tasks.make_env()
    for task in tasks.sample_task_batch(episodes):
        position, _ = env.reset(options={"task": task})
        truncated = False
        while not truncated:
            action = np.clip(policy(position, np.array(task.goal), rng), -1, 1)
            position, reward, _, truncated, _ = env.step(action)
            total += reward
    return total / episodes


@pytest.mark.parametrize(
    ("policy", "expected", "tolerance"),
    [
        (lambda p, g, rng: rng.normal(size=2), -28.8, 2.0),
        (lambda p, g, rng: STILL, -19.06, 1.5),
        (lambda p, g, rng: 10 * (g - p), -0.5, 0.1),
    ],
    ids=["untrained", "still", "straight"],
)
def test_returns_mean_what_the_docstring_says(policy, expected, tolerance):
    assert mean_return(policy, 150) == pytest.approx(expected, abs=tolerance)


def test_goal_changes_rewards_and_no_observation():
    def play(goal):
        env = Navigation2DEnv(goal)
        steps = [env.reset(), *(env.step(action) for action in actions)]
        return [step[0] for step in steps], [step[1] for step in steps[1:]]

    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    (seen, rewards), (other_seen, other_rewards) = play((0.3, 0.3)), play((-0.3, 0.1))
    np.testing.assert_array_equal(seen, other_seen)
    assert not np.isclose(rewards, other_rewards).all()


def test_goals_are_drawn_for_each_episode_until_one_is_set():
    env = Navigation2DEnv()
    assert len({env.reset(seed=i or None)[1]["task"] for i in range(5)}) == 5
    env.reset(options={"task": np.array([0.1, 0.2])})
    env.reset()
    assert env.task == Navigation2DTask((0.1, 0.2))
    env.reset(options={"task": None})
    assert env.task != Navigation2DTask((0.1, 0.2))


def test_goals_depend_on_the_seed_alone_and_fill_their_square():
    first, second = Navigation2DEnv(), Navigation2DEnv()
    names = [first.reset(seed=5 if i == 0 else None)[1]["task"] for i in range(3)]
    assert names == [second.reset(seed=5 if i == 0 else None)[1]["task"] for i in range(3)]
    goals = np.array([task.goal for task in NavigationTasks(seed=1).sample_task_batch(400)])
    assert np.abs(goals).max() <= 0.5
    np.testing.assert_allclose(goals.std(0), 1 / np.sqrt(12), atol=0.02)


def test_tasks_have_names_and_environments():
    tasks = NavigationTasks(seed=3, max_steps=7)
    batch = tasks.sample_task_batch(4)
    assert batch == NavigationTasks(seed=3).sample_task_batch(4)
    assert len({task.name for task in batch}) == 4
    env = tasks.make_env(batch[0])
    env.reset()
    assert (env.task, env.config.max_steps) == (batch[0], 7)


def test_episodes_are_truncated_and_may_end_at_the_goal():
    env = Navigation2DEnv((0.1, 0.0), max_steps=3)
    env.reset()
    assert [env.step(STILL)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(STILL)
    env = Navigation2DEnv((0.1, 0.0), end_at_goal=True)
    env.reset()
    assert env.step(np.array([0.8, 0.0]))[2:4] == (False, False)
    assert env.step(np.array([0.15, 0.0]))[2:4] == (True, False)


def test_text_and_picture_show_the_goal():
    env = Navigation2DEnv((0.5, -0.5), render_mode="ansi")
    env.reset()
    env.step(np.array([1.0, 0.0]))
    assert env.render() == (
        "step 1 of 50: at (+0.100, +0.000), goal (+0.500, -0.500), distance 0.640\n"
    )
    env = Navigation2DEnv((0.5, -0.5), render_mode="rgb_array")
    env.reset()
    picture = env.render()
    rows, columns = np.nonzero((picture == (255, 170, 30)).all(-1))
    # The goal lies to the right and below.
    assert rows.mean() == pytest.approx(255 * (1 + 0.5 / 1.1) / 2, abs=1)
    assert columns.mean() == pytest.approx(255 * (1 + 0.5 / 1.1) / 2, abs=1)


def test_environment_is_pickled_with_its_goal():
    copy = pickle.loads(pickle.dumps(Navigation2DEnv((0.2, 0.1), max_steps=9)))
    copy.reset()
    assert (copy.task.goal, copy.config.max_steps) == ((0.2, 0.1), 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": (0.1, 0.2, 0.3)}, "two finite numbers"),
        ({"task": (0.1, np.nan)}, "two finite numbers"),
        ({"max_steps": 0}, "max_steps must be at least 1, found 0"),
        ({"render_mode": "human"}, "render_mode must be ansi or rgb_array"),
        ({"goal": (0, 0)}, "no setting 'goal'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Navigation2DEnv(**arguments)


def test_wrong_options_and_actions_are_refused():
    env = Navigation2DEnv()
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(STILL)
    with pytest.raises(ConfigError, match="option 'task', found \\['goal'\\]"):
        env.reset(options={"goal": (0, 0)})
    env.reset()
    with pytest.raises(DataError, match=r"shape \(2,\), found \(3,\)"):
        env.step(np.zeros(3))
    for bad in (1.5, np.nan):
        with pytest.raises(DataError, match=r"within \[-1, 1\]"):
            env.step(np.array([0.0, bad]))
