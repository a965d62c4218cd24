"""How well a policy adapts: returns after 0, 1, 2, … inner steps on tasks that it was not trained on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from aime_agent.configs import override
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.experience import make_envs, play_task
from aime_agent.meta.families import TaskFamily, check_fit
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.training.seeding import numpy_rng


class AdaptationCurve(NamedTuple):
    """Mean returns of episodes after each number of inner steps."""

    tasks: tuple[str, ...]
    returns: Float64[np.ndarray, "M K"]
    """Per task and number of steps, from 0."""
    best: Float64[np.ndarray, "M K"]
    """The best single episode so far."""
    solved: Float64[np.ndarray, "M K"]
    """1 where a law that fits was written by then; 0 for control."""
    env_steps: int

    def mean(self) -> list[float]:
        """Returns the mean over tasks."""
        return self.returns.mean(axis=0).tolist()

    def gain(self) -> Float64[np.ndarray, "M"]:
        """Returns what the last step has over none, per task."""
        return self.returns[:, -1] - self.returns[:, 0]


def adaptation_curve(
    policy: EnhancedMetaLearningPolicy,
    family: TaskFamily,
    tasks: Sequence[Any],
    config: EnhancedMetaLearningConfig,
    watch: Callable[[int], bool] | None = None,
) -> AdaptationCurve:
    """Adapts to each task from the same starting point, which stays as it is.

    Args:
        policy: The starting point.
        family: Where the tasks come from.
        tasks: What to adapt to.
        config: Inner steps, episodes, step size; every count has ``support_episodes``, the last too.
        watch: Told how many tasks are done; True ends it early.

    Raises:
        ConfigError: the policy does not fit the family's environments.
    """
    c = override(config, query_episodes=config.support_episodes, use_intrinsic_rewards=False)
    envs = make_envs(family, c.support_episodes)
    check_fit(policy, envs[0])
    names, returns, best, solved, steps = list[str](), [], [], [], 0
    try:
        for i, task in enumerate(tasks):
            seed = int(numpy_rng(c.seed, "adaptation", i).integers(2**30))
            rollouts = play_task(policy, envs, task, c, seed).rollouts
            names.append(task.name)
            returns.append([float(r.returns.mean()) for r in rollouts])
            best.append(np.maximum.accumulate([float(r.returns.max()) for r in rollouts]))
            fits = [any(info.get("fits", False) for info in r.infos) for r in rollouts]
            solved.append(np.maximum.accumulate(np.array(fits, float)))
            steps += sum(r.steps for r in rollouts)
            if watch is not None and watch(i + 1):
                break
    finally:
        for env in envs:
            env.close()
    tables = (np.array(table, float) for table in (returns, best, solved))
    return AdaptationCurve(tuple(names), *tables, steps)  # type: ignore[call-arg, arg-type]
