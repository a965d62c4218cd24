"""A planner as Stable-Baselines3's predict: streams, resets, spaces, seeds."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from laws import randomised
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from aime_agent.errors import ConfigError, DataError
from aime_agent.planning import Guides, Planner, PlannerConfig
from aime_agent.policies.planner import PlannerPolicy
from aime_agent.training.evaluate import evaluate
from aime_agent.training.players import Seen, Turn, predict_player
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SETTINGS = {"samples": 8, "horizon": 3, "iterations": 2, "actor_share": 0.25}


class Squares(gym.Env):
    """Frames of noise; pays its first action; episodes of 4 + (how many came before) steps."""

    observation_space = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4 + self.episodes
        self.episodes += 1
        return self._frame(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self._frame(), float(action[0]), False, self.left == 0, {}

    def _frame(self):
        return self.np_random.integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    world = AimeWorldModel(preset("tiny", image_size=32, action_dim=2))
    world.begin(torch.rand(32, 3, 32, 32))
    return randomised(world, 0.3).eval()


@pytest.fixture(scope="module")
def make(model):
    def make(seed=0, action_space=None, **settings):
        width = model.config.feature_dim
        weights = torch.linspace(-1, 1, width)
        guides = Guides(
            act=lambda f, n: torch.tanh(f[:, :2]) + 0.3 * n, value=lambda f: f @ weights
        )
        config = PlannerConfig(**SETTINGS | settings)
        return PlannerPolicy(model, Planner(model, guides, 0.9, config), seed, action_space)

    return make


@pytest.fixture(scope="module")
def film():
    """Six frames of three environments."""
    return np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32, 3), dtype=np.uint8)


def played(policy, frames, starts, deterministic=True):
    """Actions of a stream of frames ``[T, N, …]`` with episode starts ``[T, N]``."""
    state, actions = None, []
    for frame, start in zip(frames, starts, strict=True):
        action, state = policy.predict(frame, state, start, deterministic)
        actions.append(action)
    return np.stack(actions)


def starts_at(*rows, length=6):
    """``[T, N]``: where each environment's episodes begin."""
    found = np.zeros((length, len(rows)), bool)
    for i, times in enumerate(rows):
        found[list(times), i] = True
    return found


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("method", ["mppi", "cem"])
def test_environments_are_planned_for_as_if_alone(make, film, method, deterministic):
    policy, starts = make(method=method), starts_at((0,), (0, 3), (0, 5))
    together = played(policy, film, starts, deterministic)
    assert together.dtype == np.float32
    for i in range(3):
        alone = played(policy, film[:, i : i + 1], starts[:, i : i + 1], deterministic)
        np.testing.assert_allclose(alone[:, 0], together[:, i], atol=1e-4)


def test_episode_start_forgets_plan_belief_and_noise(make, film):
    policy = make()
    whole = played(policy, film[:, :1], starts_at((0, 3)))
    fresh = played(policy, film[3:, :1], starts_at((0,), length=3))
    np.testing.assert_allclose(whole[3:], fresh, atol=1e-6)
    carried = played(policy, film[:, :1], starts_at((0,)))
    assert np.abs(carried[3:] - fresh).max() > 1e-3


def test_plan_is_carried_on_shifted(make, film):
    policy = make(iterations=1, samples=1, elite_share=1.0, actor_share=0.0)
    _, state = policy.predict(film[0])
    given = torch.arange(18.0).reshape(3, 3, 2) / 20
    action, state = policy.predict(film[1], state._replace(mean=given), np.zeros(3, bool))
    # One sequence, the warm start itself, is the plan.
    np.testing.assert_allclose(action, given[:, 0])
    torch.testing.assert_close(state.mean[:, :2], given[:, 1:])
    assert state.turn.tolist() == [2, 2, 2]


def test_one_frame_gives_one_action(make, film):
    action, state = make().predict(film[0, 0])
    assert action.shape == (2,)
    batch, _ = make().predict({"pixels": film[0, :1]})
    np.testing.assert_array_equal(batch[0], action)
    assert state.mean.shape == (1, 3, 2)


def test_seed_decides_and_nothing_else(make, film):
    starts = starts_at((0,), (0,), (0,))
    first = played(make(seed=1), film, starts)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    np.testing.assert_array_equal(played(make(seed=1), film, starts), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.abs(played(make(seed=2), film, starts) - first).max() > 1e-3


def test_actions_are_scaled_to_the_environments_box(make, film):
    box = gym.spaces.Box(np.float32([0, -2]), np.float32([4, 2]), dtype=np.float32)
    plain, _ = make().predict(film[0])
    scaled, _ = make(action_space=box).predict(film[0])
    np.testing.assert_allclose(scaled, plain * [2, 2] + [2, 0], rtol=1e-6)
    assert all(box.contains(a) for a in scaled)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(2),
        gym.spaces.Box(-1, 1, (3,)),
        gym.spaces.Box(-np.inf, np.inf, (2,)),
    ],
)
def test_other_action_spaces_are_refused(make, space):
    with pytest.raises(ConfigError, match=r"Box of 2 actions.*make_env"):
        make(action_space=space)


def test_frames_of_another_size_are_refused(make):
    with pytest.raises(DataError, match="32, 32, 3"):
        make().predict(np.zeros((64, 64, 3), np.uint8))


def test_stable_baselines_evaluates_it_over_environments_that_end_apart(make):
    env = DummyVecEnv([lambda: Monitor(Squares()) for _ in range(2)])
    env.seed(3)
    returns, lengths = evaluate_policy(make(), env, 4, return_episode_rewards=True)
    assert sorted(lengths) == [4, 4, 5, 5]
    assert all(np.isfinite(returns))


def test_own_evaluation_repeats_itself(make):
    first, second = (evaluate(make().predict, Squares(), 2, seed=0) for _ in range(2))
    assert first == second
    assert first.lengths == (4, 5)


def test_datasets_can_be_collected_with_it(make, film):
    player = predict_player(make(), "mppi", seed=0)
    expected = played(make(), film[:2, :1], starts_at((0,), length=2))
    memory = None
    for step in range(2):
        action, memory = player.act(Seen(film[step, 0], None), memory, Turn(0, 0, step))
        np.testing.assert_allclose(action, expected[step, 0])
