"""`PhysicsTaskDistribution`: tasks to draw from, by difficulty, field and likeness."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from aime_agent.errors import ConfigError
from aime_agent.symbolic.catalogue import ALIASES, SUITES, TASKS, find_task
from aime_agent.symbolic.tasks import PhysicsTask

_CURRICULUM = (0.2, 0.8)
_WIDTH = 0.15


class PhysicsTaskDistribution:
    """Draws tasks.

    Args:
        include_noise: Whether environments made from it disturb the target.
        tasks: What is drawn from; None for the laws of physics with known units.
        seed: Of the draws.

    Raises:
        ConfigError: there is no task, or two have the same name.
    """

    def __init__(
        self,
        include_noise: bool = True,
        tasks: Sequence[PhysicsTask] | None = None,
        seed: int = 0,
    ) -> None:
        self.include_noise = include_noise
        self.tasks = list((*SUITES["laws"], *SUITES["dmc"]) if tasks is None else tasks)
        if not self.tasks:
            raise ConfigError("a task distribution needs at least one task, found none")
        self.task_by_name = {task.name: task for task in self.tasks}
        if len(self.task_by_name) < len(self.tasks):
            (name, _), *_ = Counter(task.name for task in self.tasks).most_common(1)
            raise ConfigError(f"tasks must have different names, found {name!r} twice")
        self.seed = seed
        self._rng = np.random.default_rng(seed)

    def only(self, tasks: Sequence[PhysicsTask]) -> "PhysicsTaskDistribution":
        """Returns a distribution like this one over some of its tasks."""
        return PhysicsTaskDistribution(self.include_noise, tasks, self.seed)

    @property
    def task_families(self) -> dict[str, list[PhysicsTask]]:
        """Tasks by field of physics."""
        fields = dict.fromkeys(task.domain for task in self.tasks)
        return {f: [task for task in self.tasks if task.domain == f] for f in fields}

    def sample_task(
        self,
        difficulty_range: tuple[float, float] | None = None,
        domain: str | None = None,
        require_symmetry: str | None = None,
    ) -> PhysicsTask:
        """Draws one task that fulfils what is asked.

        Raises:
            ConfigError: none does.
        """
        low, high = difficulty_range or (0.0, 1.0)
        fitting = [
            task
            for task in self.tasks
            if low <= task.difficulty <= high
            and domain in (None, task.domain)
            and (require_symmetry is None or require_symmetry in task.symmetries)
        ]
        if not fitting:
            raise ConfigError(
                f"no task has difficulty {low} to {high}, domain {domain or 'any'} and symmetry "
                f"{require_symmetry or 'any'}; domains are {', '.join(self.task_families)}"
            )
        return fitting[int(self._rng.integers(len(fitting)))]

    def sample_task_batch(
        self, n_tasks: int, curriculum: bool = True, balanced_domains: bool = False
    ) -> list[PhysicsTask]:
        """Draws several tasks.

        Args:
            n_tasks: How many.
            curriculum: From easy to hard: each draw is from the tasks near its difficulty.
            balanced_domains: Take the fields in turn.
        """
        fields = list(self.task_families)
        centres = np.linspace(*_CURRICULUM, n_tasks)
        batch = []
        for i, centre in enumerate(centres):
            domain = fields[i % len(fields)] if balanced_domains else None
            known = self.tasks if domain is None else self.task_families[domain]
            near = self._near(known, float(centre)) if curriculum else known
            batch.append(near[int(self._rng.integers(len(near)))])
        return batch

    def get_task_by_name(self, name: str) -> PhysicsTask:
        """Returns a task of this distribution, or any of the catalogue, by name or alias."""
        full = ALIASES.get(name, name)
        return self.task_by_name[full] if full in self.task_by_name else find_task(name)

    def get_related_tasks(self, task: PhysicsTask, n_tasks: int = 5) -> list[PhysicsTask]:
        """Returns the tasks most like one: same field, shared variables, symmetries and laws."""

        def likeness(other: PhysicsTask) -> float:
            shared = set(task.variables) & set(other.variables)
            alike = set(task.symmetries) & set(other.symmetries)
            kept = set(task.conserved_quantities) & set(other.conserved_quantities)
            union = set(task.variables) | set(other.variables)
            score = len(shared) / len(union) + 0.2 * (len(alike) + len(kept))
            return score + 0.5 * (task.domain == other.domain)

        others = [other for other in self.tasks if other.name != task.name]
        return sorted(others, key=likeness, reverse=True)[:n_tasks]

    def describe_task_distribution(self) -> dict[str, Any]:
        """Returns how many tasks there are, by field and by difficulty."""
        difficulties = [task.difficulty for task in self.tasks]
        return {
            "num_tasks": len(self.tasks),
            "domains": {field: len(tasks) for field, tasks in self.task_families.items()},
            "difficulty": {
                "min": min(difficulties),
                "mean": float(np.mean(difficulties)),
                "max": max(difficulties),
            },
            "known": len(TASKS),
        }

    @staticmethod
    def _near(tasks: Sequence[PhysicsTask], centre: float) -> Sequence[PhysicsTask]:
        """Returns the tasks of about this difficulty; the nearest one if there is none."""
        near = [task for task in tasks if abs(task.difficulty - centre) <= _WIDTH]
        return near or [min(tasks, key=lambda task: abs(task.difficulty - centre))]
