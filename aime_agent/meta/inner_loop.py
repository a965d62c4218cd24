"""Adaptation within a task, and the loss that is adapted on.

    θ_{k+1} = θ_k − α ∇ L(θ_k; D_k),    D_k played by θ_k
    L = −Σ_t ρ_t A_t / n,    ρ_t = π_θ(a_t | o_t) / π_{θ_k}(a_t | o_t)     (Foerster et al., 2018; Rothfuss et al., 2019)

At θ = θ_k the ratio ρ is 1 and its gradient is the policy gradient. The ratio, not log π, stands
there because its derivative keeps the dependence of the sampled actions on θ: with log π the
meta-gradient would lose that term and equal the first-order one (a test has both by hand).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from aime_agent.functional.returns import symlog
from aime_agent.meta.advantages import (
    generalised_advantages,
    leave_one_out,
    linear_baseline,
    normalised,
    returns_to_go,
)
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.rollouts import Rollout
from aime_agent.policies.meta_policy import Decision, EnhancedMetaLearningPolicy

Parameters = dict[str, Tensor]


def ratio_surrogate(
    log_probs: Float[Tensor, "N"],
    behaviour: Float[Tensor, "N"],
    advantages: Float[Tensor, "N"],
    clip: float | None = None,
) -> Float[Tensor, ""]:
    """Returns −mean ρ A, or PPO's clipped −mean min(ρ A, clip(ρ, 1 ± c) A) (Schulman et al., 2017)."""
    ratio = (log_probs - behaviour).exp()
    if clip is None:
        return -(ratio * advantages).mean()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def value_loss(value: Float[Tensor, "N"], returns: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """Returns the mean squared error in symlog, where returns of any size weigh alike.

    >>> value_loss(torch.tensor([0.0]), torch.tensor([1.0]).expm1()).item()
    1.0
    """
    return (symlog(value) - symlog(returns)).square().mean()


def decide(
    policy: EnhancedMetaLearningPolicy, parameters: Mapping[str, Tensor], rollout: Rollout
) -> Decision:
    """Returns what the policy with these parameters thinks at every valid step."""
    observations = rollout.observations[rollout.valid]
    out = functional_call(policy, dict(parameters), (observations, rollout.context))
    return out["decision"]


def log_probs(
    policy: EnhancedMetaLearningPolicy, decision: Decision, rollout: Rollout
) -> Float[Tensor, "N"]:
    """Returns log π of what was done at every valid step, under the mask it was done under."""
    chances = policy.distribution(decision.policy_logits, rollout.masks[rollout.valid])
    return chances.log_prob(rollout.actions[rollout.valid])


def advantages_of(
    rollout: Rollout, value: Float[Tensor, "N"], config: EnhancedMetaLearningConfig
) -> Float[Tensor, "N"]:
    """Returns normalised advantages of every valid step, without a graph.

    A risk-seeking objective gives each step of the best share of episodes what its return has
    above the quantile that bounds them, and the others 0.
    """
    valid = rollout.valid
    if config.objective == "risk_seeking":
        returns = rollout.returns
        above = (returns - torch.quantile(returns, 1.0 - config.risk)).clamp_min(0.0)
        share = above / (above.max() + 1e-8)
        return (share[:, None] * valid)[valid]
    returns = returns_to_go(rollout.rewards, valid, config.discount)
    if config.baseline == "linear":
        baseline = linear_baseline(rollout.observations, returns, valid)
    elif config.baseline == "value":
        baseline = torch.zeros_like(returns).masked_scatter(valid, value.detach())
    else:
        baseline = leave_one_out(returns[:, 0])[:, None].expand_as(returns) * valid
    if config.baseline == "leave_one_out":
        return normalised((returns - baseline) * valid, valid)[valid]
    found = generalised_advantages(
        rollout.rewards, baseline, valid, config.discount, config.gae_lambda
    )
    return normalised(found, valid)[valid]


def inner_loss(
    policy: EnhancedMetaLearningPolicy,
    parameters: Mapping[str, Tensor],
    rollout: Rollout,
    config: EnhancedMetaLearningConfig,
) -> Float[Tensor, ""]:
    """Returns the loss that is adapted on: the surrogate, and the value's if it is the baseline."""
    decision = decide(policy, parameters, rollout)
    advantages = advantages_of(rollout, decision.value, config)
    behaviour = rollout.log_probs[rollout.valid]
    loss = ratio_surrogate(log_probs(policy, decision, rollout), behaviour, advantages)
    if config.baseline == "value":
        returns = returns_to_go(rollout.rewards, rollout.valid, config.discount)[rollout.valid]
        loss = loss + config.value_loss_weight * value_loss(decision.value, returns)
    return loss


def inner_step(
    policy: EnhancedMetaLearningPolicy,
    parameters: Parameters,
    rollout: Rollout,
    config: EnhancedMetaLearningConfig,
    second_order: bool,
) -> Parameters:
    """Returns θ − α ∇L with its graph to θ; without second order the gradient is a constant."""
    names = policy.inner_parameters(config.inner_params)
    with _differentiable_recurrence(second_order):
        loss = inner_loss(policy, parameters, rollout, config)
        wanted = [parameters[name] for name in names]
        gradients = torch.autograd.grad(loss, wanted, create_graph=second_order, allow_unused=True)
    changed = {
        name: parameters[name] - config.adaptation_lr * gradient
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None
    }
    return parameters | changed


def adaptation_path(
    policy: EnhancedMetaLearningPolicy,
    rollouts: Sequence[Rollout],
    config: EnhancedMetaLearningConfig,
    second_order: bool,
) -> list[Parameters]:
    """Returns θ_0, …, θ_K, each with its graph to the policy's own."""
    path: list[Parameters] = [dict(policy.named_parameters())]
    for rollout in rollouts:
        path.append(inner_step(policy, path[-1], rollout, config, second_order))
    return path


def _differentiable_recurrence(second_order: bool) -> AbstractContextManager[None]:
    """CuDNN's recurrences have no second derivative; the native ones do."""
    if not (second_order and torch.cuda.is_available()):
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=False)
