"""Where tasks come from: anything with a name, tasks to draw, and environments to play them in.

Tasks are hidden: they differ in reward, dynamics or law, and only what an episode shows tells them
apart. An environment takes its task by ``reset(options={"task": task})``.
"""

import logging
from typing import Any, Protocol, runtime_checkable

import gymnasium

from aime_agent.envs.beliefs import BeliefObservation
from aime_agent.envs.symbolic import SymbolicDiscoveryEnv
from aime_agent.errors import ConfigError
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.policies.tokens import TreeTokenizer
from aime_agent.symbolic.distribution import PhysicsTaskDistribution
from aime_agent.world_model.frozen import WorldRef

_log = logging.getLogger(__name__)


@runtime_checkable
class TaskFamily(Protocol):
    """A set of tasks over one kind of environment; each task has a ``name``."""

    name: str

    def sample_task_batch(self, n_tasks: int) -> list[Any]:
        """Draws tasks."""

    def make_env(self, task: Any = None) -> gymnasium.Env[Any, Any]:
        """Makes an environment that can play every task of the family."""


class PhysicsFamily:
    """Laws to write, as a family.

    Args:
        distribution: Its tasks; noise as it says.
        name: What it is called in checkpoints.
        **settings: Of `SymbolicDiscoveryEnv`.
    """

    def __init__(
        self, distribution: PhysicsTaskDistribution, name: str = "physics", **settings: Any
    ) -> None:
        self.distribution, self.name, self.settings = distribution, name, settings

    def sample_task_batch(self, n_tasks: int) -> list[Any]:
        """Draws laws of all difficulties."""
        return self.distribution.sample_task_batch(n_tasks, curriculum=False)

    def make_env(self, task: Any = None) -> gymnasium.Env[Any, Any]:
        """Makes an environment whose node limit fits every law of the distribution."""
        tasks = tuple(self.distribution.tasks) if task is None else (task,)
        noise = self.distribution.include_noise
        return SymbolicDiscoveryEnv(tasks=tasks, **({"noise": noise} | self.settings))


class BeliefFamily:
    """A family seen through a frozen world model: its belief and slots instead of pixels.

    Args:
        family: Whose environments show pixels.
        world: The model; `aime_agent.policies.freeze` makes one.
        observation: ``objects`` (belief, slots, centres, masses) or ``belief``.
    """

    def __init__(self, family: TaskFamily, world: WorldRef, observation: str = "objects") -> None:
        self.family, self.world, self.observation = family, world, observation
        self.name = family.name

    def sample_task_batch(self, n_tasks: int) -> list[Any]:
        """Draws tasks."""
        return self.family.sample_task_batch(n_tasks)

    def make_env(self, task: Any = None) -> gymnasium.Env[Any, Any]:
        """Makes an environment of beliefs."""
        env = self.family.make_env(task)
        return BeliefObservation(env, self.world, observation=self.observation)


def as_family(
    tasks: PhysicsTaskDistribution | TaskFamily, policy: EnhancedMetaLearningPolicy | None
) -> TaskFamily:
    """Returns a family: the seed's distribution becomes one, seen the way a policy sees.

    A policy over flat trees (the seed's has 128 numbers, 16 nodes) gets flat observations of as many
    nodes; laws that need more are left out, and said.
    """
    if not isinstance(tasks, PhysicsTaskDistribution):
        return tasks
    if policy is None or not isinstance(policy.tokenizer, TreeTokenizer):
        return PhysicsFamily(tasks)
    most = policy.observation_dim // policy.tokenizer.node_feature_dim
    fitting = [t for t in tasks.tasks if t.expression is None or len(t.expression.tokens) <= most]
    if left_out := [t.name for t in tasks.tasks if t not in fitting]:
        _log.warning("laws with more than %d nodes are left out: %s", most, ", ".join(left_out))
    return PhysicsFamily(tasks.only(fitting), observation="flat", max_nodes=most)


def check_fit(policy: EnhancedMetaLearningPolicy, env: gymnasium.Env[Any, Any]) -> None:
    """Refuses a policy that cannot act in an environment with flat observations.

    Raises:
        ConfigError: the numbers of observations or actions differ.
    """
    seen, acts = (gymnasium.spaces.flatdim(s) for s in (env.observation_space, env.action_space))
    exact = isinstance(env.action_space, gymnasium.spaces.Box)
    enough = policy.action_dim == acts if exact else policy.action_dim >= acts
    if policy.observation_dim != seen or not enough or policy.continuous != exact:
        raise ConfigError(
            f"policy: observation_dim={seen}, action_dim={acts} and continuous={exact} required by "
            f"{env.unwrapped}, found {policy.observation_dim}, {policy.action_dim} and "
            f"{policy.continuous}; use policy_for(observation_space, action_space)"
        )
