import dataclasses

import numpy as np
import pytest
import torch

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.presets import agent_preset
from aime_agent.structs import Batch
from aime_agent.world_model.presets import preset

QUICK = {"dream_starts": 6, "horizon": 3, "dream_skip": 1, "actor_units": 16}


@pytest.fixture(scope="session")
def make_agent():
    """Returns a function that builds a tiny agent for two actions and 32-pixel frames."""

    def make(like="tiny", action_dim=2, world_model=None, task="cartpole-swingup", **settings):
        world = preset("tiny", action_dim=action_dim, image_size=32, **(world_model or {}))
        spec = AgentSpec(
            task=task,
            preset="tiny",
            image_size=32,
            world_model=world,
            agent=agent_preset(like, **(QUICK | settings)),
        )
        return AimeAgent(spec)

    return make


@pytest.fixture(scope="session")
def batch():
    """Three windows of six rows; the second holds a new episode, the third an end."""
    generator = torch.Generator().manual_seed(0)
    is_first = torch.zeros(3, 6, dtype=torch.bool)
    is_first[:, 0] = is_first[1, 3] = True
    terminated = torch.zeros(3, 6, dtype=torch.bool)
    terminated[2, 5] = True
    return Batch(
        torch.randint(0, 256, (3, 6, 3, 32, 32), dtype=torch.uint8, generator=generator),
        2 * torch.rand(3, 6, 2, generator=generator) - 1,
        torch.rand(3, 6, generator=generator) * ~is_first,
        terminated,
        is_first,
    )


@pytest.fixture(scope="session")
def frames():
    """Two frames as an environment gives them."""
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def begun(make_agent, batch):
    """State of a tiny agent after its start and two updates."""
    agent = make_agent()
    agent.begin(batch.observations.flatten(0, 1))
    for step in range(2):
        agent.update(batch, step)
    return {k: v.clone() for k, v in agent.state_dict().items()}


@pytest.fixture
def agent(make_agent, begun):
    """A tiny agent that has learned for two updates."""
    agent = make_agent()
    agent.load_state_dict(begun)
    return agent


@pytest.fixture(scope="session")
def with_settings():
    """Returns a function that gives an agent's learners other settings."""

    def change(agent, **settings):
        config = dataclasses.replace(agent.config.agent, **settings)
        agent.config = dataclasses.replace(agent.config, agent=config)
        agent.learner.config = agent.behaviour.config = config
        return agent

    return change
