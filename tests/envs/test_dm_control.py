"""One task of the suite: spaces, rewards, ends, seeds, replay."""

import json
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from aime_agent.envs import gl
from aime_agent.envs.dm_control import DmControlConfig, DmControlEnv
from aime_agent.envs.make import make_env
from aime_agent.envs.suite import task_names
from aime_agent.errors import ConfigError, DataError, RenderError


@pytest.fixture
def make():
    made = []

    def build(task="cartpole-swingup", observation="state", **settings):
        env = make_env(task, observation=observation, render_quality="minimal", **settings)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def play(env, seed=0, steps=5):
    env.action_space.seed(0)
    seen = [env.reset(seed=seed)[0]]
    return np.array(seen + [env.step(env.action_space.sample())[0] for _ in range(steps)])


def test_spaces_by_mode(make):
    assert make(observation="pixels", image_size=40).observation_space.shape == (40, 40, 3)
    both = make("humanoid-walk", "both")
    assert both.observation_space["pixels"].dtype == np.uint8
    assert both.observation_space["state"].shape == (67,)
    assert both.action_space == gymnasium.spaces.Box(-1, 1, (21,), np.float32)


@pytest.mark.render
@pytest.mark.parametrize("observation", ["pixels", "state", "both"])
def test_observations_lie_in_their_space(make, observation):
    env = make(observation=observation)
    assert env.reset(seed=0)[0] in env.observation_space
    assert env.step(np.zeros(1))[0] in env.observation_space


def test_repeat_sums_rewards_and_shows_the_last_frame(make):
    once, twice = make(action_repeat=1), make(action_repeat=2)
    once.reset(seed=4), twice.reset(seed=4)
    action = np.array([0.5], np.float32)
    first, second = once.step(action), once.step(action)
    both = twice.step(action)
    assert np.array_equal(both[0], second[0])
    assert both[1] == first[1] + second[1]


def test_state_equals_dm_controls_own(make):
    from dm_control import suite

    time_step = suite.load("walker", "walk", task_kwargs={"random": 9}).reset()
    own = np.concatenate([np.ravel(v) for v in time_step.observation.values()])
    assert np.array_equal(make("walker-walk").reset(seed=9)[0], own.astype(np.float32))


def test_actions_are_rescaled_to_the_actuators(make):
    env = make("quadruped-walk").unwrapped
    env.reset(seed=0)
    env.step(np.full(12, -1.0))
    assert np.allclose(env.physics.data.ctrl[:3], [-1.0, -1.0, -0.8])
    env.step(np.full(12, 1.0))
    assert np.allclose(env.physics.data.ctrl[:3], [1.0, 1.1, 0.8])


@pytest.mark.parametrize(("repeat", "steps"), [(1, 1000), (2, 500), (3, 334)])
def test_time_limit_truncates_after_a_thousand_frames(make, repeat, steps):
    env = make(action_repeat=repeat)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(env.unwrapped.episode_steps)]
    assert len(ends) == steps
    assert ends[-1] == (False, True)
    assert not np.any(ends[:-1])


def test_only_a_discount_of_zero_terminates(make, monkeypatch):
    env = make("lqr-lqr_2_1")
    env.reset(seed=0)
    monkeypatch.setattr(env.unwrapped._dm.task, "get_termination", lambda physics: 0.0)
    assert env.step(np.zeros(1))[2:4] == (True, False)


def test_lqr_ends_after_a_thousand_frames_too(make):
    assert make("lqr-lqr_6_2").unwrapped.episode_steps == 500


def test_step_outside_an_episode_is_refused(make):
    env = make(action_repeat=500)
    with pytest.raises(ResetNeeded, match="cartpole-swingup"):
        env.step(np.zeros(1))
    env.reset(seed=0)
    env.step(np.zeros(1)), env.step(np.zeros(1))
    with pytest.raises(ResetNeeded, match="over"):
        env.step(np.zeros(1))


@pytest.mark.parametrize(
    ("action", "words"),
    [([0.0, 0.0], "shape"), ([np.nan], "finite"), ([1.5], r"\[1.5\]"), ([-np.inf], "finite")],
)
def test_a_bad_action_is_named(make, action, words):
    env = make()
    env.reset(seed=0)
    with pytest.raises(DataError, match=words):
        env.step(np.array(action))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 16),
        ("action_repeat", 0),
        ("render_width", 0),
        ("render_height", 1.5),
        ("observation", "pixel"),
        ("render_quality", "best"),
    ],
)
def test_a_bad_setting_is_named(name, value):
    config = object.__new__(DmControlConfig)  # the tests' type checker would be faster
    object.__setattr__(config, name, value)
    with pytest.raises(ConfigError, match=name):
        config.__post_init__()


def test_a_bad_setting_given_to_make_is_named():
    with pytest.raises(ConfigError, match="image_size must be an integer of at least 32, found 16"):
        make_env("cartpole-swingup", image_size=16)


def test_an_unknown_render_mode_is_named():
    with pytest.raises(ConfigError, match="ascii"):
        DmControlEnv("cartpole", "swingup", render_mode="ascii")


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'image_size'"):
        make_env("cartpole-swingup", imagesize=64)


def test_unknown_reset_option_is_named(make):
    with pytest.raises(ConfigError, match="colour"):
        make().reset(options={"colour": 1})


def test_same_seed_same_episode_other_seed_another(make):
    assert np.array_equal(play(make(), 1), play(make(), 1))
    assert not np.array_equal(play(make(), 1), play(make(), 2))


def test_unseeded_instances_differ_and_episodes_differ(make):
    first, second = make(), make()
    starts = [first.reset()[0], first.reset()[0], second.reset()[0]]
    assert len({start.tobytes() for start in starts}) == 3


def test_stream_of_episodes_is_seeded_as_a_whole(make):
    first, second = make(), make()
    for env in (first, second):
        env.reset(seed=6)
    second.step(np.ones(1))
    (a, info), (b, _) = first.reset(), second.reset()
    assert np.array_equal(a, b)
    assert info["episode_index"] == 1


@pytest.mark.render
@pytest.mark.parametrize("task", ["cartpole-swingup", "walker-walk"])
def test_fast_forward_equals_stepping_bit_for_bit(make, task):
    played, replayed = make(task, "both"), make(task, "both")
    played.reset(seed=8), played.reset()
    actions = np.stack([played.action_space.sample() for _ in range(20)])
    rewards = [played.step(action)[1] for action in actions]
    again = replayed.get_wrapper_attr("fast_forward")(8, actions, episode=1)
    seen, shown = played.unwrapped.current_observation(), replayed.unwrapped.current_observation()
    assert again.tolist() == rewards
    assert np.array_equal(seen["pixels"], shown["pixels"])
    assert played.step(actions[0])[1] == replayed.step(actions[0])[1]
    assert (
        played.unwrapped.physics.data.qvel.tolist() == replayed.unwrapped.physics.data.qvel.tolist()
    )


def test_fast_forward_renders_nothing(make, monkeypatch):
    env = make(observation="pixels").unwrapped
    monkeypatch.setattr(env._renderer, "picture", lambda *size: pytest.fail("rendered"))
    env.fast_forward(0, np.zeros((3, 1)))


@pytest.mark.render
def test_render_returns_a_larger_picture_of_the_same_moment(make):
    env = make(render_mode="rgb_array", render_width=96, render_height=80)
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (80, 96, 3)
    assert picture.std() > 0


def test_render_without_a_mode_warns(make):
    env = make()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


@pytest.mark.parametrize(
    ("task", "repeat", "fps"), [("cartpole-balance", 1, 100), ("walker-walk", 2, 20)]
)
def test_render_fps_is_true_and_each_instances_own(make, task, repeat, fps):
    other = make("humanoid-walk")
    assert make(task, action_repeat=repeat).metadata["render_fps"] == fps
    assert other.metadata["render_fps"] == 20


def test_information_is_json(make):
    env = make()
    info = env.reset(seed=0)[1]
    assert json.loads(json.dumps(info)) == {"episode_seed": 0, "episode_index": 0}
    assert json.loads(json.dumps(env.step(np.zeros(1))[4])) == {"discount": 1.0}


def test_spec_is_json_and_rebuilds_the_environment(make):
    spec = make("walker-walk", action_repeat=4).spec
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()))
    assert again.unwrapped.config.action_repeat == 4


def test_pickle_rebuilds_the_environment(make):
    env = make("walker-walk", action_repeat=4)
    assert np.array_equal(play(pickle.loads(pickle.dumps(env))), play(env))


def test_id_with_module_prefix_works():
    env = gymnasium.make("aime_agent:AIME/walker-walk-v0", observation="state")
    assert env.reset(seed=0)[0].shape == (24,)


def test_new_observations_do_not_overwrite_old_ones(make):
    env = make()
    first = env.reset(seed=0)[0]
    kept = first.copy()
    env.step(np.ones(1))
    assert np.array_equal(first, kept)


def test_a_task_that_renders_at_every_reset_says_so_without_opengl(monkeypatch):
    report = gl.GLReport("disabled", "no back-end works", (), gl.CURE)
    monkeypatch.setattr(gl, "choose_backend", lambda: report)
    with pytest.raises(RenderError, match="quadruped-escape needs OpenGL"):
        make_env("quadruped-escape", observation="state")


@pytest.mark.slow
@pytest.mark.parametrize("name", task_names())
def test_every_task_replays_exactly_whatever_was_played_before(make, name):
    fresh, used = make(name), make(name)
    play(used, seed=1)
    actions = [fresh.action_space.sample() for _ in range(5)]
    first, second = (env.unwrapped.fast_forward(7, actions, episode=2) for env in (fresh, used))
    assert first.tolist() == second.tolist()
    assert np.array_equal(
        fresh.unwrapped.current_observation(), used.unwrapped.current_observation()
    )
