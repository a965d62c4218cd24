import math

import pytest
import torch
from laws import every_parameter_gets_gradient, works_in_float64

from aime_agent.agents.actor_critic import (
    ActionCritic,
    ActionDistribution,
    Actor,
    Critic,
    Dream,
    ReturnScale,
    actor_loss,
    dream_targets,
    replay_targets,
)


def make_dream(mean=0.0, raw=0.0, rewards=((1.0, 2.0),), continues=((0.5, 0.8),)):
    mean = torch.as_tensor(mean).expand(1, 2, 1)
    return Dream(
        torch.zeros(1, 3, 4),
        ActionDistribution(mean, torch.ones(1, 2, 1)),
        torch.as_tensor(raw).expand(1, 2, 1),
        torch.as_tensor(rewards),
        torch.as_tensor(continues),
    )


def test_dream_returns_by_hand():
    found = dream_targets(make_dream(), torch.tensor([[10.0, 20.0, 30.0]]), 0.9, 0.5)
    last = 2 + 0.9 * 0.8 * 30
    first = 1 + 0.9 * 0.5 * (0.5 * 20 + 0.5 * last)
    torch.testing.assert_close(found.returns, torch.tensor([[first, last]]))
    assert found.values.tolist() == [[10.0, 20.0]]


def test_a_step_weighs_as_much_as_it_is_likely_to_be_reached():
    dream = make_dream(continues=((0.5, 0.0),))
    found = dream_targets(dream, torch.ones(1, 3), 0.9, 0.5)
    assert found.weights.tolist() == [[1.0, 0.5]]
    assert found.returns[0, 1] == 2.0


def test_weights_carry_no_gradient_to_the_continuation():
    continues = torch.tensor([[0.5, 0.8]], requires_grad=True)
    found = dream_targets(make_dream(continues=continues), torch.ones(1, 3), 0.9, 0.5)
    assert found.returns.requires_grad
    assert not found.weights.requires_grad


def test_replayed_returns_by_hand():
    rewards, values = torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    is_first = torch.tensor([[True, False, True, False]])
    none = torch.zeros(1, 4, dtype=torch.bool)
    found, valid = replay_targets(rewards, none, is_first, values, 0.9, 0.5)
    # Row 1 is the last of its episode: it bootstraps row 0 and is itself left out.
    torch.testing.assert_close(found, torch.tensor([[1 + 0.9 * 20, 20.0, 3 + 0.9 * 40]]))
    assert valid.tolist() == [[True, False, True]]


def test_replayed_return_ends_at_a_termination_and_not_at_a_time_limit():
    rewards, values = torch.tensor([[0.0, 1.0, 2.0]]), torch.full((1, 3), 100.0)
    is_first = torch.tensor([[True, False, True]])
    ended = torch.tensor([[False, True, False]])
    assert replay_targets(rewards, ended, is_first, values, 0.9, 0.5)[0][0, 0] == 1.0
    found = replay_targets(rewards, ended & False, is_first, values, 0.9, 0.5)[0]
    torch.testing.assert_close(found[0, 0], torch.tensor(91.0))


def test_reward_of_another_episode_is_not_read():
    is_first = torch.tensor([[True, False, True, False]])
    none = torch.zeros(1, 4, dtype=torch.bool)
    rewards, values = torch.rand(1, 4), torch.rand(1, 4)
    before, valid = replay_targets(rewards, none, is_first, values, 0.9, 0.95)
    rewards[0, 2], values[0, 2:] = 99.0, 99.0
    after, _ = replay_targets(rewards, none, is_first, values, 0.9, 0.95)
    assert torch.equal(before[0, :2], after[0, :2])
    assert not torch.equal(before[0, 2], after[0, 2])
    assert not valid[0, 1]


def test_pathwise_gradient_follows_the_reward():
    mean = torch.zeros((), requires_grad=True)
    dream = make_dream(mean, rewards=(3.0 * mean).expand(1, 2), continues=((1.0, 1.0),))
    targets = dream_targets(dream, torch.zeros(1, 3), 0.5, 1.0)
    actor_loss(dream, targets, torch.tensor(2.0), 0.0, pathwise=True).backward()
    torch.testing.assert_close(mean.grad, torch.tensor(-(1.5 * 1.5 + 1.5) / 2))


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_reinforce_moves_toward_what_was_better_than_expected(advantage):
    mean = torch.zeros((), requires_grad=True)
    dream = make_dream(mean, raw=0.7, rewards=((advantage, advantage),), continues=((0.0, 0.0),))
    targets = dream_targets(dream, torch.zeros(1, 3), 0.9, 0.5)
    actor_loss(dream, targets, torch.tensor(1.0), 0.0, pathwise=False).backward()
    # d log p / d mean = 0.7; the second step is never reached, so half of one step counts.
    torch.testing.assert_close(mean.grad, torch.tensor(-advantage * 0.7 / 2))


def test_entropy_bonus_widens():
    std = torch.full((1, 2, 1), 0.5, requires_grad=True)
    dream = make_dream()._replace(actions=ActionDistribution(torch.zeros(1, 2, 1), std))
    targets = dream_targets(dream, torch.zeros(1, 3), 0.9, 0.5)
    actor_loss(dream, targets, torch.tensor(1.0), 0.1, pathwise=True).backward()
    torch.testing.assert_close(std.grad, -0.1 / 0.5 * torch.tensor([[[0.5], [0.25]]]))


def test_entropy_and_density_are_those_of_a_gaussian():
    mean, std, raw = torch.randn(3, 5, 2).unbind(0)
    std = std.exp()
    reference = torch.distributions.Normal(mean, std)
    found = ActionDistribution(mean, std)
    torch.testing.assert_close(found.entropy(), reference.entropy().sum(-1))
    torch.testing.assert_close(found.log_prob(raw), reference.log_prob(raw).sum(-1))
    unit = ActionDistribution(torch.zeros(2), torch.ones(2))
    assert math.isclose(float(unit.entropy()), math.log(2 * math.pi * math.e), rel_tol=1e-6)


def test_samples_are_clipped_and_their_gradient_is_not():
    mean = torch.tensor([0.9], requires_grad=True)
    action, raw = ActionDistribution(mean, torch.ones(1)).sample(torch.ones(1))
    torch.testing.assert_close(raw, torch.tensor([1.9]))
    assert action.item() == 1.0
    action.sum().backward()
    assert mean.grad.item() == 1.0


def test_actor_starts_around_zero_and_stays_within_its_bounds():
    actor = Actor(6, 2, 16)
    start = actor(torch.randn(4, 6))
    assert not start.mean.any()
    torch.testing.assert_close(start.std, torch.full((4, 2), 0.9 * 0.731059 + 0.1))
    torch.nn.init.normal_(actor.net.layers[-1].weight, std=50.0)
    wild = actor(torch.randn(200, 6))
    assert wild.mean.abs().max() <= 1
    assert wild.std.min() >= 0.1
    assert wild.std.max() <= 1


def test_critic_starts_at_zero_and_learns_a_number():
    critic = Critic(3, 16)
    features, target = torch.randn(8, 3), torch.full((8,), 37.5)
    torch.testing.assert_close(critic.value(features), torch.zeros(8), rtol=0, atol=1e-3)
    adam = torch.optim.Adam(critic.parameters(), lr=3e-2)
    for _ in range(60):
        adam.zero_grad()
        critic.loss(features, target).mean().backward()
        adam.step()
    torch.testing.assert_close(critic.value(features), target, rtol=0.05, atol=0)


def test_action_critic_takes_the_smaller_value_and_teaches_both():
    critic = ActionCritic(3, 2, 16)
    features, actions, target = torch.randn(8, 3), torch.randn(8, 2), torch.full((8,), 2.5)
    torch.testing.assert_close(critic.value(features, actions), torch.zeros(8), rtol=0, atol=1e-3)
    uniform = 2 * math.log(127)  # the sum of two cross-entropies against 127 equal bins
    torch.testing.assert_close(
        critic.loss(features, actions, target), torch.full((8,), uniform), rtol=1e-5, atol=0
    )
    with torch.no_grad():
        critic.nets[0].layers[-1].bias[90] = critic.nets[1].layers[-1].bias[70] = 100.0
    values = critic.value(features, actions)
    torch.testing.assert_close(values, critic.bins[70].expand(8))
    both = critic.loss(features, actions, critic.bins[70].expand(8))
    torch.testing.assert_close(
        both, torch.full((8,), 100.0)
    )  # 0 for the right one, 100 for the other


def test_action_critic_reads_the_action():
    critic = ActionCritic(3, 1, 16)
    features, actions = torch.randn(64, 3), torch.rand(64, 1) * 2 - 1
    adam = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(200):
        adam.zero_grad()
        critic.loss(features, actions, 5 * actions[:, 0]).mean().backward()
        adam.step()
    high, low = (critic.value(features, torch.full((64, 1), a)).mean().item() for a in (0.8, -0.8))
    assert high == pytest.approx(4.0, rel=0.2)
    assert low == pytest.approx(-4.0, rel=0.2)


@pytest.mark.parametrize("module", [Actor(6, 2, 16), Critic(6, 16)])
def test_every_parameter_learns_in_either_precision(module):
    every_parameter_gets_gradient(module, lambda m: m(torch.randn(4, 6).to(next(m.parameters()))))
    works_in_float64(module, lambda m: m(torch.randn(4, 6, dtype=torch.float64)))


def test_every_parameter_of_the_action_critic_learns_in_either_precision():
    def values(m):
        return m(*torch.randn(4, 6).to(next(m.parameters())).split([4, 2], dim=-1))

    every_parameter_gets_gradient(ActionCritic(4, 2, 16), values)
    works_in_float64(ActionCritic(4, 2, 16), values)


def test_return_scale_by_hand():
    scale = ReturnScale()
    assert scale.update(torch.arange(101.0)) == 90
    torch.testing.assert_close(scale.update(torch.zeros(5)), torch.tensor(0.99 * 90))


def test_small_returns_are_not_blown_up():
    assert ReturnScale().update(torch.tensor([0.0, 0.01])) == 1
