"""An agent with heads of disagreement learns what it learns without them, and keeps them."""

import numpy as np
import pytest
import torch

from aime_agent.agents.aime import AimeAgent
from aime_agent.envs.latent_vector import LatentVectorEnv
from aime_agent.errors import ConfigError
from aime_agent.structs import Batch
from aime_agent.training.config import TrainConfig


def agent_with(heads):
    config = TrainConfig(
        task="cartpole-balance", preset="tiny", image_size=32,
        world_model={"disagreement_heads": heads}, agent={"dream_starts": 4, "horizon": 2},
    )  # fmt: skip
    return AimeAgent.create(config, 2)


@pytest.fixture(scope="module")
def learned():
    """Agents with and without heads after the same two updates, and the last metrics."""
    g = torch.Generator().manual_seed(0)
    batch = Batch(
        observations=torch.randint(0, 256, (2, 6, 3, 32, 32), generator=g, dtype=torch.uint8),
        actions=torch.rand(2, 6, 2, generator=g) * 2 - 1,
        rewards=torch.rand(2, 6, generator=g),
        terminated=torch.zeros(2, 6, dtype=torch.bool),
        is_first=torch.zeros(2, 6, dtype=torch.bool),
    )
    found = {}
    for heads in (0, 4):
        agent = agent_with(heads)
        agent.begin(batch.observations.flatten(0, 1))
        found[heads] = agent, [agent.update(batch, step) for step in range(2)]
    return found


def test_everything_else_is_learned_bit_for_bit(learned):
    plain, doubting = (learned[heads][0].state_dict() for heads in (0, 4))
    assert all(torch.equal(value, doubting[name]) for name, value in plain.items())
    extra = {name for name in doubting if name not in plain}
    assert extra
    assert all("doubt" in name for name in extra)


def test_heads_learn(learned):
    losses = [m["loss/disagreement"] for m in learned[4][1]]
    assert losses[1] != losses[0]
    fresh = agent_with(4).world_model.doubt.first
    assert not torch.equal(learned[4][0].world_model.doubt.first, fresh)


def test_they_are_saved_and_needed(learned):
    agent = agent_with(4)
    agent.load_state_dict(learned[4][0].state_dict())
    assert torch.equal(agent.world_model.doubt.last, learned[4][0].world_model.doubt.last)
    features = torch.zeros(1, agent.config.world_model.feature_dim)
    assert agent.world_model.disagreement(features, torch.zeros(1, 2)).shape == (1,)
    with pytest.raises(ConfigError, match="disagreement_heads=0"):
        agent_with(0).world_model.disagreement(features, torch.zeros(1, 2))


def test_a_dream_tells_them_apart_from_stochasticity(learned):
    model = learned[4][0].world_model
    frames = np.zeros((1, 1, 32, 32, 3), np.uint8)
    env = LatentVectorEnv(2, model, start=frames)
    env.reset(seed=0)
    before = env.belief.features
    action = np.array([[0.5, -0.5], [1.0, 1.0]], np.float32)
    info = env.step(action)[-1]
    expected = model.disagreement(before, torch.from_numpy(action)).detach().numpy()
    np.testing.assert_allclose(info["disagreement"], expected, atol=1e-6)
    assert (info["disagreement"] != info["stochasticity"]).all()


def test_a_planner_may_shun_what_is_not_known(learned):
    agent = learned[4][0]
    frame = np.zeros((32, 32, 3), np.uint8)
    small = {"samples": 8, "horizon": 2, "iterations": 2}
    bold, _ = agent.planner(**small).predict(frame)
    shy, _ = agent.planner(penalty=1e3, **small).predict(frame)
    assert not np.allclose(bold, shy)
    with pytest.raises(ConfigError, match="disagreement is missing"):
        learned[0][0].planner(penalty=1.0)
