"""A world whose best plans can be worked out by hand: a point that actions push."""

from types import SimpleNamespace

import pytest
import torch

from aime_agent.planning import Guides, Planner, PlannerConfig, PlanNoise, draw_noise
from aime_agent.world_model.state import Trajectory, bare_belief


class Point:
    """s' = s + a in two dimensions, r = −|s' − goal|²; the latent is the noise that it was given."""

    def __init__(self, goal=(0.3, -0.2), survival=1.0):
        self.config = SimpleNamespace(action_dim=2, latent_dim=1)
        self.goal = torch.tensor(goal)
        self.survival = survival
        self.rows = []

    def rollout(self, belief, policy, horizon, noise, temperature):
        self.rows.append(belief.z.shape[0])
        features, actions, beliefs = [belief.features], [], []
        for k in range(horizon):
            action = policy[:, k] if isinstance(policy, torch.Tensor) else policy(features[-1])
            z = temperature * noise[0][:, k]
            belief = point_belief(belief.hidden + action, z)
            features.append(belief.features)
            actions.append(action)
            beliefs.append(belief)
        return Trajectory(torch.stack(features, 1), torch.stack(actions, 1), beliefs)

    def reward(self, belief):
        return -(belief.hidden - self.goal).square().sum(-1) + belief.z[..., 0]

    def continuation(self, belief):
        return torch.full(belief.hidden.shape[:-1], self.survival)


def point_belief(at, z=None):
    z = torch.zeros(len(at), 1) if z is None else z
    return bare_belief(at, torch.zeros(len(at), 0), z, torch.zeros(len(at), 0))


def plain(world, guides=None, discount=1.0, bounds=None, **settings):
    """A planner without actor and critic unless settings say otherwise."""
    settings = {"actor_share": 0.0, "terminal_value": False, **settings}
    return Planner(world, guides or Guides(), discount, PlannerConfig(**settings), bounds)


def noise_of(planner, envs=1, seed=0):
    """Noise of environments 0 … envs − 1, each from a generator of its own."""
    one = [
        draw_noise(planner.world, planner.config, torch.Generator().manual_seed(seed + i))
        for i in range(envs)
    ]
    return PlanNoise(*(torch.cat(parts) for parts in zip(*one, strict=True)))


@pytest.fixture
def toy():
    return SimpleNamespace(Point=Point, belief=point_belief, planner=plain, noise=noise_of)
