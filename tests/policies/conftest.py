"""A tiny world, and environments of its beliefs, in milliseconds."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from laws import randomised
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from aime_agent.envs.beliefs import BeliefObservation, BeliefVecEnv
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SIDE, ACTIONS = 32, 2


class Noise(gym.Env):
    """Random frames for eight steps; the reward is the first action."""

    observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 8
        return self.frame(), {}

    def step(self, action):
        self.left -= 1
        return self.frame(), float(action[0]), False, self.left == 0, {}

    def frame(self):
        return self.np_random.integers(1, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def world():
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=SIDE, action_dim=ACTIONS))
    model.begin(torch.rand(32, 3, SIDE, SIDE))
    return randomised(model, 0.15).eval()


@pytest.fixture(scope="session")
def make_single(world):
    return lambda kind="belief": BeliefObservation(Noise(), world, observation=kind)


@pytest.fixture(scope="session")
def make_beliefs(world):
    """Returns a function that makes an SB3 environment of beliefs."""

    def make(kind="belief", n=2):
        return BeliefVecEnv(DummyVecEnv([Noise] * n), world, observation=kind)

    return make


@pytest.fixture(scope="session")
def make_stack():
    """Returns a function that makes an SB3 environment of three stacked frames."""
    return lambda n=2: VecFrameStack(DummyVecEnv([Noise] * n), 3)
