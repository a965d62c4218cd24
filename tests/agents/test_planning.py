"""The planner that an agent guides."""

import numpy as np
import pytest
import torch

from aime_agent.agents.planning import guides
from aime_agent.errors import ConfigError

FEW = {"samples": 8, "iterations": 2, "horizon": 3}


@pytest.fixture(params=["state", "action"])
def either(request, make_agent):
    agent = make_agent(critic=request.param)
    torch.manual_seed(0)
    for module in (agent.behaviour.actor, agent.behaviour.critic):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return agent


def test_actor_proposes_its_mean_and_deviation(either):
    found, features = (
        guides(either.behaviour),
        torch.randn(4, either.world_model.config.feature_dim),
    )
    distribution = either.behaviour.actor(features)
    torch.testing.assert_close(found.act(features, torch.zeros(4, 2)), distribution.mean)
    one = found.act(features, torch.ones(4, 2))
    torch.testing.assert_close(one, distribution.mean + distribution.std)


def test_value_is_the_critics_of_the_actors_action(either):
    features = torch.randn(4, either.world_model.config.feature_dim)
    critic = either.behaviour.critic
    if either.config.agent.critic == "state":
        expected = critic.value(features)
    else:
        expected = critic.value(features, either.behaviour.actor(features).mean)
    torch.testing.assert_close(guides(either.behaviour).value(features), expected)
    assert expected.std() > 0


def test_agent_plans_with_its_own_discount_and_settings(either, frames):
    policy = either.planner(**FEW, method="cem")
    assert policy.planner.config.method == "cem"
    assert policy.planner.discount == either.config.agent.discount(either.config.action_repeat)
    action, state = policy.predict(frames)
    assert action.shape == (2, 2)
    assert np.abs(action).max() <= 1
    again, _ = policy.predict(frames, state, np.array([False, True]))
    np.testing.assert_allclose(again[1], action[1], atol=1e-6)


def test_critic_moves_the_plan(either, frames):
    with_value, without = (
        either.planner(**FEW, terminal_value=value).predict(frames)[0] for value in (True, False)
    )
    assert np.abs(with_value - without).max() > 1e-4


def test_unknown_setting_is_named(either):
    with pytest.raises(ConfigError, match="'samples'"):
        either.planner(sampels=3)
