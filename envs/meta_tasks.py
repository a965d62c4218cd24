"""Families of control tasks that differ in what no observation shows; for meta-learning.

Parametric families hold 100 tasks: 40 to train with, 20 to choose settings with, 40 to test with. Each
split is a Latin hypercube of its own, so it covers every range evenly; the values depend on the
names of family and split alone. Other families list their tasks.

Importing this file imports neither mujoco nor dm_control.

>>> [task.name for task in family_tasks("walker-body", "train")]
['walker-body_stand', 'walker-body_run', 'walker-body_walk_backward']
>>> len(family_tasks("cheetah-vel", "test"))
40
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from zlib import crc32

import numpy as np
from jaxtyping import Float

from aime_agent.errors import ConfigError

SPLITS = {"train": 40, "val": 20, "test": 40}
"""Tasks of a parametric family."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the tasks of a family share.

    Attributes:
        domain: Of the control suite.
        task: The suite's task that it starts from.
        values: What the numbers of a task are.
        low: Least value of each; none if the tasks are listed.
        high: Largest value of each.
        listed: By split, the one number of each task by name.
    """

    domain: str
    task: str
    values: tuple[str, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    listed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that hold tasks."""
        return tuple(self.listed or SPLITS)


_SCALES = ("mass", "length", "gear", "damping")
_HALF, _DOUBLE = (0.5,) * 4, (2.0,) * 4
_WAYS = {"forward": 1.0, "backward": -1.0}

FAMILIES: Mapping[str, Family] = {
    "cheetah-vel": Family(
        domain="cheetah", task="run", values=("speed",), low=(0.0,), high=(6.0,)
    ),
    "walker-vel": Family(domain="walker", task="walk", values=("speed",), low=(0.0,), high=(3.0,)),
    "walker-dir": Family(
        domain="walker", task="walk", values=("speed",), listed=dict.fromkeys(SPLITS, _WAYS)
    ),
    "humanoid-vel": Family(
        domain="humanoid", task="walk", values=("speed",), low=(0.0,), high=(3.0,)
    ),
    "humanoid-dir": Family(
        domain="humanoid", task="walk", values=("angle",), low=(-math.pi,), high=(math.pi,)
    ),
    "point_mass-goal": Family(
        domain="point_mass", task="easy", values=("x", "y"), low=(-0.2, -0.2), high=(0.2, 0.2)
    ),
    "reacher-goal": Family(
        domain="reacher", task="easy", values=("radius", "angle"),
        low=(0.05, -math.pi), high=(0.2, math.pi),
    ),
    "pendulum-dynamics": Family(
        domain="pendulum", task="swingup", values=_SCALES, low=_HALF, high=_DOUBLE
    ),
    "cartpole-dynamics": Family(
        domain="cartpole", task="swingup", values=_SCALES, low=_HALF, high=_DOUBLE
    ),
    "walker-body": Family(
        domain="walker", task="walk", values=("speed",),
        listed={"train": {"stand": 0.0, "run": 8.0, "walk_backward": -1.0}, "test": {"walk": 1.0}},
    ),
    "humanoid-body": Family(
        domain="humanoid", task="walk", values=("speed",),
        listed={"train": {"stand": 0.0, "run": 10.0}, "test": {"walk": 1.0}},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class MetaTask:
    """One task of a family.

    Args:
        name: Unique in the family.
        family: One of `FAMILIES`.
        values: The hidden numbers, as the family's ``values`` says.
        split: Where it belongs; ``own`` for tasks made by hand.

    Raises:
        ConfigError: the family is unknown or its tasks have other values.
    """

    name: str
    family: str
    values: tuple[float, ...]
    split: str = "own"

    def __post_init__(self) -> None:
        wanted = find_family(self.family).values
        if len(self.values) != len(wanted) or not np.isfinite(self.values).all():
            raise ConfigError(
                f"values of family {self.family!r} must be finite numbers ({', '.join(wanted)}), "
                f"found {self.values!r}"
            )
        if wanted == _SCALES and min(self.values) <= 0:
            raise ConfigError(f"values of {self.family!r} must be above 0, found {self.values!r}")


def find_family(name: str) -> Family:
    """Returns a family by its name."""
    if name not in FAMILIES:
        raise ConfigError(f"family must be one of {', '.join(FAMILIES)}, found {name!r}")
    return FAMILIES[name]


@cache
def family_tasks(family: str, split: str) -> tuple[MetaTask, ...]:
    """Returns the tasks of a split, always the same ones.

    Raises:
        ConfigError: there is no such family, or no such split of it.
    """
    known = find_family(family)
    if split not in known.splits:
        raise ConfigError(
            f"split of family {family!r} must be one of {known.splits}, found {split!r}"
        )
    if known.listed:
        listed = known.listed[split].items()
        return tuple(MetaTask(f"{family}_{name}", family, (v,), split) for name, v in listed)
    rows = _latin_hypercube(f"{family} {split}", known, SPLITS[split]).tolist()
    return tuple(MetaTask(_name(family, row), family, tuple(row), split) for row in rows)


def find_task(family: str, name: str) -> MetaTask:
    """Returns a task of any split by its name."""
    tasks = {t.name: t for split in find_family(family).splits for t in family_tasks(family, split)}
    if name not in tasks:
        raise ConfigError(f"task {name!r} is none of family {family!r}, such as {min(tasks)!r}")
    return tasks[name]


def _latin_hypercube(seed: str, family: Family, count: int) -> Float[np.ndarray, "{count} values"]:
    """Returns rows of values: along each value, one in every count-th of its range."""
    rng = np.random.default_rng(crc32(seed.encode()))
    low, high = np.array(family.low), np.array(family.high)
    strata = rng.permuted(np.tile(np.arange(count), (len(low), 1)), axis=1).T
    shares = (strata + rng.random(strata.shape)) / count
    return np.round(low + (high - low) * shares, 4)


def _name(family: str, values: list[float]) -> str:
    return "_".join([family, *(f"{value:.4f}" for value in values)])
