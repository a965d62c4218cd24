"""What the outer loop minimises at the adapted parameters θ_K(θ).

    L = w_π PPO(ρ, A) + w_v (symlog v − symlog G)² + w_c smooth₁(complexity) + w_s smooth₁(convergence)
        + w_a H_attention / log n − w_e H_policy

Targets of the auxiliary heads: nodes of the finished law over the most there may be (for control,
the mean reward where rewards lie in [0, 1], as the control suite's do), and the steps that are left
over the most; where nobody knows a target, its loss is masked. Means are over valid steps, so no
weight depends on the size of a batch.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from aime_agent.layers.query_attention import attention_entropy
from aime_agent.meta.advantages import returns_to_go
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.inner_loop import advantages_of, decide, log_probs, ratio_surrogate, value_loss
from aime_agent.meta.rollouts import Rollout
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy

Losses = dict[str, Tensor]


def meta_losses(
    policy: EnhancedMetaLearningPolicy,
    parameters: Mapping[str, Tensor],
    rollout: Rollout,
    config: EnhancedMetaLearningConfig,
    most_nodes: int | None,
) -> Losses:
    """Returns every term, unweighted, by name.

    Args:
        policy: Whose they are.
        parameters: The adapted ones.
        rollout: Played by them.
        config: Settings.
        most_nodes: Largest law; None where there are no laws.
    """
    decision = decide(policy, parameters, rollout)
    valid = rollout.valid
    advantages = advantages_of(rollout, decision.value, config)
    chosen = log_probs(policy, decision, rollout)
    returns = returns_to_go(rollout.rewards, valid, config.discount)[valid]
    attended = decision.attended
    entropy = policy.distribution(decision.policy_logits, rollout.masks[valid]).entropy()
    return {
        "policy": ratio_surrogate(chosen, rollout.log_probs[valid], advantages, config.clip_ratio),
        "value": value_loss(decision.value, returns),
        "complexity": masked_smooth_l1(
            decision.predicted_complexity, complexity_targets(rollout, most_nodes)
        ),
        "convergence": masked_smooth_l1(
            decision.predicted_convergence, convergence_targets(rollout, config.max_episode_steps)
        ),
        "attention_entropy": attention_entropy(attended.weights, attended.mask).mean(),
        "policy_entropy": entropy.mean(),
    }


def weighted(losses: Losses, config: EnhancedMetaLearningConfig) -> Float[Tensor, ""]:
    """Returns the sum under the configuration's weights."""
    weights = {
        "policy": config.policy_loss_weight,
        "value": config.value_loss_weight,
        "complexity": config.complexity_loss_weight,
        "convergence": config.convergence_loss_weight,
        "attention_entropy": config.attention_entropy_weight,
        "policy_entropy": -config.policy_entropy_weight,
    }
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def complexity_targets(rollout: Rollout, most_nodes: int | None) -> Float[Tensor, "N"]:
    """Returns nodes of each step's finished law over the most; NaN where there is none.

    Without laws: the mean reward of the episode, where it lies in [0, 1].
    """
    if most_nodes is None:
        mean = rollout.returns / rollout.valid.sum(dim=1)
        target = torch.where((mean >= 0.0) & (mean <= 1.0), mean, torch.nan)
    else:
        sizes = [info.get("complexity", float("nan")) for info in rollout.infos]
        target = torch.tensor(sizes, device=rollout.rewards.device) / most_nodes
    return target[:, None].expand_as(rollout.rewards)[rollout.valid]


def convergence_targets(rollout: Rollout, most_steps: int) -> Float[Tensor, "N"]:
    """Returns the steps that are left over the most; 0 at the last."""
    length = rollout.valid.sum(dim=1, keepdim=True)
    position = torch.arange(rollout.valid.shape[1], device=length.device)
    return ((length - 1 - position) / most_steps).float()[rollout.valid]


def masked_smooth_l1(
    predicted: Float[Tensor, "N"], target: Float[Tensor, "N"]
) -> Float[Tensor, ""]:
    """Returns the mean over targets that are known; 0 if none is.

    >>> masked_smooth_l1(torch.tensor([0.0, 0.5]), torch.tensor([1.0, float("nan")])).item()
    0.5
    """
    known = target.isfinite()
    if not known.any():
        return predicted.sum() * 0.0
    return F.smooth_l1_loss(predicted[known], target[known])
