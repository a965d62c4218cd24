"""Inner steps and their gradient: the three-armed bandit by hand, and what may and may not adapt."""

import pytest
import torch
from laws import assert_equal
from torch import nn

from aime_agent.layers.query_attention import Attended
from aime_agent.meta.advantages import (
    generalised_advantages,
    leave_one_out,
    linear_baseline,
    normalised,
    returns_to_go,
)
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.inner_loop import (
    adaptation_path,
    advantages_of,
    decide,
    log_probs,
    ratio_surrogate,
)
from aime_agent.meta.rollouts import Rollout
from aime_agent.policies.meta_policy import Decision, EnhancedMetaLearningPolicy

FIRST, SECOND = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 2.0])
# The inner advantages are normalised: those of (1, 0, −1) have the deviation √(2/3).
STEP = (2.0 / 3.0) ** 0.5


class Bandit(EnhancedMetaLearningPolicy):
    """Three arms, a logit each."""

    def __init__(self):
        nn.Module.__init__(self)
        self.logits = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.observation_dim, self.action_dim, self.continuous, self.log_std = 1, 3, False, None

    def forward(self, obs, task_context, return_attention=False):
        n = len(obs)
        nothing = torch.zeros(n, dtype=torch.float64)
        attended = Attended(torch.zeros(n, 1, 1), torch.zeros(n, 1, 1, 1), torch.ones(n, 1).bool())
        logits = self.logits.expand(n, -1)
        return {"decision": Decision(logits, nothing, attended, nothing, nothing)}

    def inner_parameters(self, which):
        return ["logits"]


def _every_arm(rewards, probabilities):
    """One episode per arm; the surrogate's mean over them is the expectation if the arms are even."""
    return Rollout(
        observations=torch.zeros(3, 1, 1),
        actions=torch.arange(3)[:, None],
        masks=torch.ones(3, 1, 3),
        log_probs=probabilities.log()[:, None],
        rewards=rewards[:, None],
        valid=torch.ones(3, 1, dtype=torch.bool),
        context=torch.zeros(1, 1, 1, 7),
        infos=({}, {}, {}),
    )


def _expected(bandit, parameters, rewards):
    """−J: the surrogate over all arms, each weighted by how often it is pulled."""
    pulled = torch.softmax(parameters["logits"], 0).detach()
    rollout = _every_arm(rewards, pulled)
    chosen = log_probs(bandit, decide(bandit, parameters, rollout), rollout)
    return ratio_surrogate(chosen, pulled.log(), 3.0 * pulled * rewards.double())


def _meta_gradient(second_order):
    bandit = Bandit()
    config = EnhancedMetaLearningConfig(
        adaptation_lr=STEP, adaptation_steps=1, baseline="leave_one_out", discount=1.0
    )
    even = torch.full((3,), 1.0 / 3.0, dtype=torch.float64)
    adapted = adaptation_path(bandit, [_every_arm(FIRST.double(), even)], config, second_order)[-1]
    (gradient,) = torch.autograd.grad(_expected(bandit, adapted, SECOND), bandit.logits)
    return -gradient


def _closed_form():
    """(I + α ∇²J₁) ∇J₂(θ + α ∇J₁), with derivatives of Σ softmax(θ) R."""

    def value(rewards):
        return lambda logits: torch.softmax(logits, 0) @ rewards.double()

    start = torch.zeros(3, dtype=torch.float64)
    after = start + torch.func.grad(value(FIRST))(start)
    last = torch.func.grad(value(SECOND))(after)
    return last + torch.autograd.functional.hessian(value(FIRST), start) @ last, last


def test_meta_gradient_of_the_bandit_equals_the_closed_form():
    exact, _ = _closed_form()
    assert_equal(_meta_gradient(second_order=True), exact, atol=1e-6)
    known = torch.tensor([-0.3973, 0.1402, 0.2571], dtype=torch.float64)
    assert_equal(exact, known, atol=5e-5)


def test_first_order_leaves_the_hessian_out():
    _, first = _closed_form()
    assert_equal(_meta_gradient(second_order=False), first, atol=1e-6)
    known = torch.tensor([-0.3506, 0.0701, 0.2805], dtype=torch.float64)
    assert_equal(first, known, atol=5e-5)


def test_clipping_bounds_what_a_ratio_gains_but_not_what_it_loses():
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss = ratio_surrogate(ratio.log(), torch.zeros(4), advantage, clip=0.2)
    assert loss.item() == pytest.approx(-(1.2 - 2.0 + 0.5 - 0.8) / 4)


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    valid = torch.tensor([[True, True, False]])
    baseline = torch.tensor([[3.0, 1.0, 9.0]])
    # δ = (1 + 0.5·1 − 3, 2 − 1) = (−1.5, 1); A_0 = −1.5 + 0.25·1
    found = generalised_advantages(rewards, baseline, valid, 0.5, 0.5)
    assert_equal(found, torch.tensor([[-1.25, 1.0, 0.0]]), atol=1e-6)
    with_all = generalised_advantages(rewards, baseline, valid, 0.5, 1.0)
    to_go = returns_to_go(rewards, valid, 0.5)
    assert_equal(with_all[:, :2], (to_go - baseline)[:, :2], atol=1e-6)


def test_a_linear_return_is_fitted_exactly():
    observations = torch.rand(6, 5, 2)
    returns = observations @ torch.tensor([2.0, -1.0]) + torch.linspace(0, 1, 5) ** 2 + 3.0
    valid = torch.ones(6, 5, dtype=torch.bool)
    assert_equal(linear_baseline(observations, returns, valid), returns, atol=2e-2)


def test_a_baseline_with_more_numbers_than_steps_is_of_time_alone():
    """Otherwise it would pass through every return, and no action would look better than another."""
    returns = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.1, 0.1]])
    found = linear_baseline(torch.rand(4, 2, 50), returns, torch.ones(4, 2, dtype=torch.bool))
    assert_equal(found, torch.full((4, 2), 0.4), atol=1e-3)


def test_terminal_rewards_keep_their_size_within_a_task():
    """Normalised within one episode, 0.9 and 0.1 would look alike."""
    rewards = torch.tensor([[0.0, 0.9], [0.0, 0.1], [0.0, 0.5]])
    rollout = _every_arm(FIRST, torch.full((3,), 1 / 3))._replace(
        rewards=rewards, valid=torch.ones(3, 2, dtype=torch.bool)
    )
    config = EnhancedMetaLearningConfig(baseline="leave_one_out", discount=1.0)
    found = advantages_of(rollout, torch.zeros(6), config).reshape(3, 2)
    assert found[0, 0] > found[2, 0] > found[1, 0]
    assert_equal(found[:, 0], found[:, 1])
    assert found.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_leave_one_out_is_independent_of_ones_own_return():
    one, two = (
        leave_one_out(torch.tensor([1.0, 2.0, 3.0])),
        leave_one_out(torch.tensor([9.0, 2.0, 3.0])),
    )
    assert one[0] == two[0]
    assert one[1] != two[1]


def test_risk_seeking_learns_from_the_best_only():
    rollout = _every_arm(torch.tensor([0.1, 0.5, 0.9]), torch.full((3,), 1 / 3))
    config = EnhancedMetaLearningConfig(objective="risk_seeking", risk=0.5)
    found = advantages_of(rollout, torch.zeros(3), config)
    assert_equal(found, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)


def test_equal_returns_teach_nothing():
    valid = torch.ones(3, 1, dtype=torch.bool)
    assert_equal(normalised(torch.full((3, 1), 0.7), valid), torch.zeros(3, 1), atol=1e-5)


def _random_rollout(policy):
    episodes, length = 4, 3
    context = torch.rand(1, 2, 3, policy.context_dim)
    context[..., -1] = 1.0
    return Rollout(
        observations=torch.rand(episodes, length, policy.observation_dim),
        actions=torch.randint(3, (episodes, length)),
        masks=torch.ones(episodes, length, 3),
        log_probs=torch.full((episodes, length), -1.0),
        rewards=torch.rand(episodes, length),
        valid=torch.ones(episodes, length, dtype=torch.bool),
        context=context,
        infos=({},) * episodes,
    )


@pytest.mark.parametrize("which", ["all", "heads", "context"])
@pytest.mark.parametrize("baseline", ["linear", "value"])
def test_only_what_adapts_changes_and_the_meta_gradient_reaches_the_rest(which, baseline):
    policy = EnhancedMetaLearningPolicy(16, 3, 8, 2)
    config = EnhancedMetaLearningConfig(inner_params=which, adaptation_lr=0.5, baseline=baseline)
    rollout = _random_rollout(policy)
    adapted = adaptation_path(policy, [rollout, rollout], config, second_order=True)[-1]
    changed = {name for name, old in policy.named_parameters() if adapted[name] is not old}
    assert changed <= set(policy.inner_parameters(which))
    assert changed
    decision = decide(policy, adapted, rollout)
    decision.policy_logits.square().sum().backward()
    assert policy.attention.to_key.weight.grad.abs().max() > 0
