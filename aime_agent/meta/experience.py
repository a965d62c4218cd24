"""Plays a task as adaptation does: episodes, an inner step, fresh episodes, and so on.

    D_0 by θ_0,  θ_1 = inner step on D_0,  D_1 by θ_1,  …,  D_K by θ_K

The policy of step k is told D_{k−1}; before the first it is told nothing.
"""

import copy
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor

from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.families import TaskFamily
from aime_agent.meta.inner_loop import Parameters, inner_step
from aime_agent.meta.rollouts import Envs, Rollout, collect, prepare_task_context
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy


class Experience(NamedTuple):
    """What was played of one task."""

    task: Any
    rollouts: tuple[Rollout, ...]
    """As played: before each inner step, and after the last."""
    learned_from: tuple[Rollout, ...]
    """The same with what novelty earns."""
    parameters: Parameters
    """After the last inner step, without a graph."""

    @property
    def support(self) -> tuple[Rollout, ...]:
        """What each inner step learns from."""
        return self.learned_from[:-1]

    @property
    def query(self) -> Rollout:
        """What the outer loop learns from."""
        return self.learned_from[-1]


def make_envs(family: TaskFamily, count: int) -> Envs:
    """Makes environments with flat observations that play any task of the family."""
    return [gymnasium.wrappers.FlattenObservation(family.make_env()) for _ in range(count)]


def play_task(
    policy: EnhancedMetaLearningPolicy,
    envs: Envs,
    task: Any,
    config: EnhancedMetaLearningConfig,
    seed: int,
) -> Experience:
    """Plays and adapts, without a graph.

    Args:
        policy: The starting point; it is not changed.
        envs: As many as the larger of support and query.
        task: What to play.
        config: Settings.
        seed: Decides everything random.
    """
    actor = copy.deepcopy(policy)
    parameters: Parameters = {n: p.detach() for n, p in policy.named_parameters()}
    found: Counter[Hashable] = Counter()
    played: list[Rollout] = []
    learned: list[Rollout] = []
    for k in range(config.adaptation_steps + 1):
        _load(actor, parameters)
        context = prepare_task_context(
            policy, played, config.context_episodes, config.context_rewards
        )
        last = k == config.adaptation_steps
        episodes = config.query_episodes if last else config.support_episodes
        steps = config.max_episode_steps
        played.append(collect(actor, envs[:episodes], task, context, steps, seed + k))
        learned.append(with_novelty(played[-1], found, config))
        if not last:
            leaves = {n: p.detach().requires_grad_() for n, p in parameters.items()}
            stepped = inner_step(policy, leaves, learned[-1], config, second_order=False)
            parameters = {n: p.detach() for n, p in stepped.items()}
    return Experience(task, tuple(played), tuple(learned), parameters)


def with_novelty(
    rollout: Rollout, found: Counter[Hashable], config: EnhancedMetaLearningConfig
) -> Rollout:
    """Returns episodes whose last reward also has w/√n for the n-th law of its kind in this task.

    Environments that do not report a law (``info["tokens"]``) earn nothing.
    """
    if not config.use_intrinsic_rewards:
        return rollout
    rewards = rollout.rewards.clone()
    for i, info in enumerate(rollout.infos):
        if "tokens" in info:
            law = tuple(info["tokens"])
            found[law] += 1
            last = int(rollout.valid[i].sum()) - 1
            rewards[i, last] += config.intrinsic_weight * found[law] ** -0.5
    return rollout._replace(rewards=rewards)


@torch.no_grad()
def _load(module: torch.nn.Module, parameters: Mapping[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        parameter.copy_(parameters[name])
