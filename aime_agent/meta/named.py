"""Families by name, as the command line takes them; each has tasks to train with and others to test with.

| name | tasks to train with | tasks to test with |
|---|---|---|
| ``navigation2d`` | goals | other goals |
| ``laws`` | made-up laws, none of them known | laws of physics with units |
| ``nguyen``, ``feynman``, ``dmc`` | made-up laws | those of that suite |
| ``cheetah-vel``, … | the split ``train`` | the split ``test`` |
"""

from functools import cache

from aime_agent.envs.meta_tasks import FAMILIES
from aime_agent.errors import ConfigError, nearest
from aime_agent.meta.families import PhysicsFamily, TaskFamily
from aime_agent.symbolic.catalogue import SUITES
from aime_agent.symbolic.distribution import PhysicsTaskDistribution
from aime_agent.symbolic.generated import generate_tasks
from aime_agent.symbolic.tasks import PhysicsTask

FAMILY_NAMES = ("navigation2d", *SUITES, *FAMILIES)
_MADE_UP = 200
_TEST_SEED = 1_000_003
_MOST_NODES = 30
"""Largest law of a family to train on: the double pendulum's 57 nodes would cost all others their speed."""


def check_family(name: str) -> None:
    """Refuses a family that does not exist.

    Raises:
        ConfigError: naming the nearest.
    """
    if name not in FAMILY_NAMES:
        raise ConfigError(f"no family is named {name!r}. {nearest(name, FAMILY_NAMES)}")


def family_by_name(
    name: str, split: str = "train", seed: int = 0, max_steps: int = 200
) -> TaskFamily:
    """Returns a family.

    Args:
        name: One of `FAMILY_NAMES`.
        split: ``train`` or ``test``; the tasks of the two differ.
        seed: Of the draws.
        max_steps: Longest episode of control.

    Raises:
        ConfigError: no such name or split; the message names the nearest.
    """
    check_family(name)
    if split not in ("train", "test"):
        raise ConfigError(f"split must be train or test, found {split!r}")
    if name == "navigation2d":
        from aime_agent.envs.navigation import NavigationTasks

        shift = _TEST_SEED * (split == "test")
        return NavigationTasks(seed + shift, max_steps=min(50, max_steps))
    if name in SUITES:
        return _physics(name, split, seed)
    from aime_agent.envs.meta_dmc import MetaTasks

    return MetaTasks(name, split, seed, max_steps=max_steps)


@cache
def _made_up() -> tuple[PhysicsTask, ...]:
    """Making laws that differ takes seconds: once per process."""
    return tuple(generate_tasks(_MADE_UP))


def _physics(suite: str, split: str, seed: int) -> PhysicsFamily:
    tasks = SUITES[suite] if split == "test" else _made_up()
    fitting = [task for task in tasks if task.max_nodes <= _MOST_NODES]
    distribution = PhysicsTaskDistribution(include_noise=False, tasks=fitting, seed=seed)
    return PhysicsFamily(distribution, name=suite, observed_nodes=_MOST_NODES)
