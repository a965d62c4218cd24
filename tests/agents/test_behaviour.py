"""Actor and critics: what they learn from, what they leave alone, and whom a gradient reaches."""

import dataclasses

import pytest
import torch
from laws import assert_equal

from aime_agent.agents.behaviour import ActionCriticLearner, StateCriticLearner, make_behaviour
from aime_agent.agents.learner import sequence_data
from aime_agent.errors import DataError
from aime_agent.structs import Batch

BOTH = pytest.mark.parametrize("critic", ["state", "action"])


def weights(module):
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def movement(before, after):
    return max(float((after[k] - before[k]).detach().abs().max()) for k in before)


def lived(agent, batch):
    """Beliefs of the batch, and the batch as the learners take it."""
    torch.manual_seed(0)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    return agent.world_model.fit(data).beliefs, data


@pytest.fixture
def begin(make_agent, batch):
    """Returns a function that makes an agent after its data-dependent start."""

    def make(**settings):
        agent = make_agent(**settings)
        agent.begin(batch.observations.flatten(0, 1))
        return agent

    return make


@BOTH
def test_slow_critic_follows_by_its_rate(begin, batch, critic):
    agent = begin(critic=critic)
    before = weights(agent.behaviour.slow_critic)
    agent.update(batch, 2)
    fast = weights(agent.behaviour.critic)
    expected = {k: v + 0.02 * (fast[k] - v) for k, v in before.items()}
    assert_equal(weights(agent.behaviour.slow_critic), expected, rtol=1e-5, atol=1e-8)


@BOTH
def test_behaviour_leaves_the_world_alone(begin, batch, critic):
    agent = begin(critic=critic)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    beliefs = agent.learner.update(data, 2)[1]
    agent.learner.optimizer.zero_grad()
    before = weights(agent.world_model)
    agent.behaviour.update(beliefs, data)
    assert_equal(weights(agent.world_model), before)
    agent.update(batch, 3)
    agent.learner.optimizer.zero_grad()
    agent.world_model.requires_grad_(False)
    agent.behaviour.update(beliefs, data)
    assert all(p.grad is None for p in agent.world_model.parameters())
    assert all(p.grad is None for p in agent.behaviour.slow_critic.parameters())


@BOTH
def test_a_cut_gradient_leaves_the_actor_as_it_is(begin, batch, critic):
    agent = begin(critic=critic, train_actor=False)
    before = weights(agent.behaviour.actor), weights(agent.behaviour.critic)
    metrics = agent.update(batch, 2)
    assert_equal(weights(agent.behaviour.actor), before[0])
    assert movement(before[1], weights(agent.behaviour.critic)) > 0
    assert metrics["grad_norm/actor"] == 0


def test_both_actor_gradients_are_finite_and_differ(make_agent, begun, batch, with_settings):
    found = []
    for kind in ("pathwise", "reinforce"):
        agent = make_agent()
        agent.load_state_dict(begun)
        metrics = with_settings(agent, actor_gradient=kind).update(batch, 2)
        assert all(torch.isfinite(v).all() for v in metrics.values())
        found.append(weights(agent.behaviour.actor))
    assert movement(*found) > 0


def test_dream_starts_skip_what_is_not_yet_settled(agent, batch, with_settings):
    with_settings(agent, dream_skip=4, dream_starts=100)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    beliefs = agent.world_model.fit(data).beliefs
    starts = agent.behaviour._starts(beliefs).z
    wanted = beliefs.z[:, 4:].flatten(0, 1)
    assert starts.shape == wanted.shape
    assert torch.equal(starts.sort(0).values, wanted.sort(0).values)
    with_settings(agent, dream_skip=99, dream_starts=2)
    assert len(agent.behaviour._starts(beliefs).z) == 2


def test_dream_has_the_settings_length_and_a_gradient_to_the_actor(agent, batch, with_settings):
    with_settings(agent, horizon=5)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    dream = agent.behaviour.dream(agent.behaviour._starts(agent.world_model.fit(data).beliefs))
    assert dream.rewards.shape == dream.continues.shape == (6, 5)
    assert dream.features.shape == (6, 6, agent.world_model.config.feature_dim)
    gradient = torch.autograd.grad(dream.rewards.sum(), agent.behaviour.actor.net.layers[-1].bias)
    assert gradient[0].any()


def critic_loss(agent, batch, with_settings, weight):
    with_settings(agent, replay_critic_weight=weight)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    torch.manual_seed(0)
    beliefs = agent.world_model.fit(data).beliefs
    return agent.behaviour.update(beliefs, data)["critic_loss"]


def test_replayed_returns_join_the_critics_loss(make_agent, begun, batch, with_settings):
    losses = []
    for weight in (0.0, 1.0, 2.0):
        agent = make_agent()
        agent.load_state_dict(begun)
        losses.append(critic_loss(agent, batch, with_settings, weight))
    assert losses[1] > losses[0]
    torch.testing.assert_close(losses[2] - losses[1], losses[1] - losses[0])


def test_the_settings_name_the_critic(begin):
    kinds = {"state": StateCriticLearner, "action": ActionCriticLearner}
    for name, kind in kinds.items():
        assert type(begin(critic=name).behaviour) is kind


@BOTH
def test_more_steps_for_one_of_the_world_model(begin, batch, critic):
    agent = begin(critic=critic, behaviour_updates=3)
    beliefs, data = lived(agent, batch)
    once = begin(critic=critic)
    torch.manual_seed(1)
    agent.behaviour.update(beliefs, data)
    torch.manual_seed(1)
    for _ in range(3):
        once.behaviour.update(beliefs, data)
    assert_equal(agent.behaviour.state_dict(), once.behaviour.state_dict())


@pytest.mark.parametrize("horizon", [0, 2])
def test_restored_action_critics_take_the_same_next_step(begin, batch, horizon):
    first, second = (begin(critic="action", horizon=horizon) for _ in range(2))
    first.update(batch, 0)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    left, right = first.update(batch, 1), second.update(batch, 1)
    assert_equal(left, right)
    assert_equal(first.state_dict(), second.state_dict())


def test_imagined_return_is_rewards_and_then_the_critics(begin, batch):
    agent = begin(critic="action", horizon=2)
    behaviour = agent.behaviour
    start = behaviour._starts(lived(agent, batch)[0])
    with torch.no_grad():  # both critics say 3 whatever the action
        at = int(torch.searchsorted(behaviour.critic.bins, torch.tensor(3.0)))
        for net in behaviour.critic.nets:
            net.layers[-1].bias[at] = 100.0
    value = behaviour.critic.bins[at]
    torch.manual_seed(2)
    found, actions, metrics = behaviour._imagined_return(start)
    torch.manual_seed(2)
    dream = behaviour.dream(start)
    (r1, r2), (c1, c2) = dream.rewards.unbind(1), dream.continues.unbind(1)
    g = behaviour.discount
    torch.testing.assert_close(found, r1 + g * c1 * r2 + g * c1 * g * c2 * value)
    torch.testing.assert_close(actions.mean, dream.actions.mean[:, 0])
    torch.testing.assert_close(metrics["dream_reward"], dream.rewards.mean())


def test_no_dream_asks_the_critics_alone(begin, batch):
    agent = begin(critic="action", horizon=0)
    beliefs, data = lived(agent, batch)
    metrics = agent.behaviour.update(beliefs, data)
    assert "dream_reward" not in metrics
    assert all(torch.isfinite(value).all() for value in metrics.values())
    agent.behaviour.model.reward_head = None  # never asked
    agent.behaviour.update(beliefs, data)


def test_action_critics_without_rewards_are_refused(begin, batch):
    agent = begin(critic="action")
    beliefs, data = lived(agent, batch)
    with pytest.raises(DataError, match=r"data\.rewards.*critic='state'"):
        agent.behaviour.update(beliefs, data._replace(rewards=None))


def practise(agent, batch, reward, discount, steps=150):
    """Behaviour learns on beliefs and random actions whose consequence is ``reward(action)``."""
    beliefs, data = lived(agent, Batch(*(torch.cat([x] * 16) for x in batch)))
    config = dataclasses.replace(agent.config.agent, actor_learning_rate=2e-3)
    config = dataclasses.replace(config, critic_learning_rate=1e-2, slow_critic_rate=0.2)
    behaviour = make_behaviour(agent.world_model, config, discount)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        actions = 2 * torch.rand(data.actions.shape, generator=generator) - 1
        rewards = torch.zeros_like(data.rewards)
        rewards[:, 1:] = reward(actions[:, :-1])
        behaviour.update(beliefs, data._replace(actions=actions, rewards=rewards))
    return behaviour, beliefs, data


def test_actor_finds_the_best_action_in_what_was_lived(begin, batch):
    """r = 4 − 8 |a − a*|², received one row after the action; no dream, no future."""
    best = torch.tensor([0.5, -0.3])
    agent = begin(critic="action", horizon=0, actor_max_std=0.2, actor_units=32)
    behaviour, beliefs, _ = practise(
        agent, batch, lambda a: 4 - 8 * (a - best).square().sum(-1), discount=0.0, steps=300
    )
    found = behaviour.actor(beliefs.features[:, 1:]).mean.flatten(0, 1)
    assert (found - best).abs().mean() < 0.1


def test_critics_learn_the_return_of_replay(begin, batch):
    """A reward of 1 for ever is worth 1 / (1 − γ); at a termination it is worth 1."""
    agent = begin(critic="action", horizon=0, return_lambda=0.7)
    behaviour, beliefs, data = practise(
        agent, batch, lambda a: torch.ones(a.shape[:-1]), discount=0.5
    )
    values = behaviour.critic.value(beliefs.features, data.actions)
    torch.testing.assert_close(values[0], torch.full((6,), 2.0), rtol=0.1, atol=0)
    assert values[2, 4].item() == pytest.approx(1.0, abs=0.15)
    assert data.terminated[2, 5]
