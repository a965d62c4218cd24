"""Episodes of one task, played side by side, and the context that they make.

Whatever a loss needs is stored when it happens: the context the policy was told, the mask it acted
under, the log-probability of what it did. Shapes: E episodes, T steps, O observation, A actions,
J trajectories of a context, F numbers per step of it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy

Envs = Sequence[gymnasium.Env[Any, Any]]


class Rollout(NamedTuple):
    """Episodes; beyond an episode's end nothing counts."""

    observations: Float[Tensor, "E T O"]
    actions: Tensor
    """[E, T] tokens, or [E, T, A]."""
    masks: Float[Tensor, "E T A"]
    """0 where an action was forbidden; else the weight of a writer who knows nothing."""
    log_probs: Float[Tensor, "E T"]
    rewards: Float[Tensor, "E T"]
    valid: Bool[Tensor, "E T"]
    context: Float[Tensor, "1 J T2 F"]
    """What the policy was told."""
    infos: tuple[dict[str, Any], ...]
    """The last of each episode."""

    @property
    def returns(self) -> Float[Tensor, "E"]:
        """Sums of rewards."""
        return (self.rewards * self.valid).sum(dim=1)

    @property
    def steps(self) -> int:
        """Steps that were taken."""
        return int(self.valid.sum())


class _Step(NamedTuple):
    """All episodes at one time."""

    observation: Float[Tensor, "E O"]
    action: Tensor
    mask: Float[Tensor, "E A"]
    log_prob: Float[Tensor, "E"]
    reward: Float[Tensor, "E"]
    valid: Bool[Tensor, "E"]


@torch.no_grad()
def collect(
    policy: EnhancedMetaLearningPolicy,
    envs: Envs,
    task: Any,
    context: Float[Tensor, "1 J T F"],
    max_steps: int,
    seed: int,
) -> Rollout:
    """Plays one episode per environment, all with the same context.

    Args:
        policy: Who acts; it draws its actions.
        envs: With flat observations, set to the task by ``reset(options={"task": task})``.
        task: What is played.
        context: What is known of it.
        max_steps: Longest episode.
        seed: Of environments and actions.
    """
    seeds = np.random.SeedSequence(seed).generate_state(len(envs))
    begun = [
        e.reset(seed=int(s) >> 1, options={"task": task}) for e, s in zip(envs, seeds, strict=True)
    ]
    seen, infos = [x for x, _ in begun], [dict(info) for _, info in begun]
    running, steps = np.ones(len(envs), bool), list[_Step]()
    embedding = policy.encode_task(context)["task_embedding"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        while running.any() and len(steps) < max_steps:
            batch = torch.from_numpy(np.stack(seen).astype(np.float32))
            mask = policy.padded_mask(np.stack([_mask(info, policy) for info in infos]))
            logits = policy.decide(batch.to(embedding), embedding).policy_logits
            chances = policy.distribution(logits, mask)
            action = chances.sample()
            rewards = np.zeros(len(envs), np.float32)
            valid = torch.from_numpy(running.copy())
            for i in np.flatnonzero(running).tolist():
                seen[i], rewards[i], ended, cut, info = envs[i].step(_native(action[i], envs[i]))
                infos[i], running[i] = dict(info), not (ended or cut)
            log_prob = chances.log_prob(action)
            steps.append(_Step(batch, action, mask, log_prob, torch.from_numpy(rewards), valid))
    parts = [torch.stack(part, dim=1).to(embedding.device) for part in zip(*steps, strict=True)]
    return Rollout(*parts, context, tuple(infos))  # type: ignore[call-arg, arg-type]


def prepare_task_context(
    policy: EnhancedMetaLearningPolicy,
    rollouts: Sequence[Rollout],
    episodes: int,
    rewards: bool = True,
) -> Float[Tensor, "1 J T F"]:
    """Returns what the policy is told of a task: the newest episodes, step by step.

    A step is (observation, action, reward, done, valid); tokens are one-hot.

    Args:
        policy: Says how many numbers a step has.
        rollouts: The newest last; none gives the empty context.
        episodes: Most of them.
        rewards: Whether rewards are told; otherwise they are 0.
    """
    if not rollouts or episodes == 0:
        return policy.empty_context()
    last = rollouts[-1]
    actions = last.actions[:episodes]
    if not policy.continuous:
        actions = torch.nn.functional.one_hot(actions, policy.action_dim)
    valid = last.valid[:episodes]
    done = torch.zeros_like(last.rewards[:episodes])
    ends = valid.sum(dim=1) - 1
    done[torch.arange(len(done), device=done.device), ends] = 1.0
    told = last.rewards[:episodes] * rewards
    numbers = torch.stack([told, done, torch.ones_like(done)], dim=-1)
    steps = torch.cat([last.observations[:episodes], actions.float(), numbers], dim=-1)
    return (steps * valid[..., None])[None]


def _mask(info: dict[str, Any], policy: EnhancedMetaLearningPolicy) -> np.ndarray:
    """The environment's prior over actions, or its mask, or nothing forbidden."""
    allowed = info.get("action_prior", info.get("action_mask"))
    return np.ones(policy.action_dim, np.float32) if allowed is None else np.asarray(allowed)


def _native(action: Tensor, env: gymnasium.Env[Any, Any]) -> Any:
    """The action as the environment takes it; a Gaussian one is clipped to its bounds."""
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Box):
        return np.clip(action.cpu().numpy(), space.low, space.high)
    return int(action)
