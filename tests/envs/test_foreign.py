"""Other people's environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from aime_agent.envs.foreign import adapt
from aime_agent.envs.make import make_env
from aime_agent.errors import ConfigError, DataError


class Toy(gymnasium.Env):
    """Shows its last action as the grey of its picture; lasts three steps."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, observation=None, action=None):
        self.observation_space = observation or spaces.Box(0, 255, (48, 60, 3), np.uint8)
        self.action_space = action or spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.action = 0, 0
        return self._observe(int(self.np_random.integers(200))), {}

    def step(self, action):
        self.steps, self.action = self.steps + 1, action
        return self._observe(int(np.sum(action))), 1.0, False, self.steps == 3, {}

    def _observe(self, grey):
        picture = np.full((48, 60, 3), grey % 256, np.uint8)
        return {"pixels": picture} if isinstance(self.observation_space, spaces.Dict) else picture


def test_discrete_actions_become_the_largest_of_a_box():
    env = adapt(Toy())
    env.reset(seed=0)
    assert env.action_space == spaces.Box(-1, 1, (3,), np.float32)
    env.step(np.array([0.0, 1.0, 0.0]))
    assert env.unwrapped.action == 6


def test_box_actions_are_rescaled():
    env = adapt(Toy(action=spaces.Box(0.0, 10.0, (2,), np.float64)))
    env.reset(seed=0)
    env.step(np.array([-1.0, 0.5]))
    assert env.unwrapped.action.tolist() == [0.0, 7.5]
    assert env.unwrapped.action.dtype == np.float64


@pytest.mark.parametrize("keyed", [False, True])
def test_pictures_are_scaled_under_their_key_or_alone(keyed):
    box = spaces.Box(0, 255, (48, 60, 3), np.uint8)
    env = adapt(Toy(spaces.Dict({"pixels": box}) if keyed else box), image_size=32)
    seen = env.reset(seed=0)[0]
    assert seen in env.observation_space
    assert (seen["pixels"] if keyed else seen).shape == (32, 32, 3)


def test_action_repeat_sums_rewards():
    env = adapt(Toy(), action_repeat=2)
    env.reset(seed=0)
    assert env.step(np.zeros(3))[1] == 2.0


@pytest.mark.parametrize(
    ("observation", "action", "wrapper"),
    [
        (spaces.Box(-1, 1, (4,)), None, "AddRenderObservation"),
        (spaces.Dict({"state": spaces.Box(-1, 1, (4,))}), None, "AddRenderObservation"),
        (spaces.Box(0, 255, (3, 48, 60), np.uint8), None, "TransformObservation"),
        (spaces.Box(0, 1, (48, 60, 3)), None, "TransformObservation"),
        (None, spaces.MultiDiscrete([2, 3]), "TransformAction"),
        (None, spaces.Box(-np.inf, np.inf, (2,)), "TransformAction"),
    ],
)
def test_what_does_not_fit_is_answered_with_a_wrapper(observation, action, wrapper):
    with pytest.raises(ConfigError, match=wrapper):
        adapt(Toy(observation, action))


@pytest.mark.parametrize("action", [np.zeros(2), np.array([0.0, np.nan, 0.0]), np.full(3, 2.0)])
def test_a_bad_action_is_named(action):
    env = adapt(Toy())
    env.reset(seed=0)
    with pytest.raises(DataError, match="action must"):
        env.step(action)


def test_fast_forward_equals_stepping():
    played, replayed = adapt(Toy()), adapt(Toy())
    played.reset(seed=2), played.reset()
    actions = np.eye(3, dtype=np.float32)[:2]
    rewards = [played.step(action)[1] for action in actions]
    assert replayed.fast_forward(2, actions, episode=1).tolist() == rewards
    assert np.array_equal(played.current_observation(), replayed.current_observation())


def test_any_registered_id_is_adapted():
    gymnasium.register("Toy-v0", entry_point=Toy)
    env = make_env("Toy-v0", image_size=32)
    assert env.reset(seed=0)[0].shape == (32, 32, 3)
    gymnasium.registry.pop("Toy-v0")


def test_an_id_without_pixels_is_refused():
    with pytest.raises(ConfigError, match="AddRenderObservation"):
        make_env("CartPole-v1")
