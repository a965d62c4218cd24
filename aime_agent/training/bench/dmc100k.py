"""Learning curves of many tasks and seeds, over the cores.

OUT/jobs/TASK-sSEED/     one run each, see ``curve``
OUT/dmc100k.json         every run that was ever started, finished or not
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aime_agent.errors import ConfigError
from aime_agent.training.bench.curve import RUN, CurveSpec, commits, read_curve
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.queue import Finished, run_queue
from aime_agent.training.bench.rows import save_rows, stored_rows

RESULTS = "dmc100k.json"
AIMS = {
    "cartpole-balance": 988,
    "walker-stand": 920,
    "ball_in_cup-catch": 880,
    "cartpole-swingup": 700,
    "walker-walk": 650,
    "finger-spin": 850,
}
"""Tasks in the order of the table, and what the project aims at after 100,000 frames."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What is run.

    Raises:
        ConfigError: a value is out of range.
    """

    tasks: tuple[str, ...] = tuple(AIMS)
    seeds: tuple[int, ...] = (0,)
    frames: int = 100_000
    points: int = 10
    episodes: int = 10
    preset: str = "small"
    render_quality: str = "fast"
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tasks", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"Curves.{name} must name each once, found {values}")

    def jobs(self) -> list[CurveSpec]:
        """All runs, all tasks of a seed before the next seed."""
        return [
            CurveSpec(
                task=task,
                seed=seed,
                frames=self.frames,
                points=self.points,
                episodes=self.episodes,
                preset=self.preset,
                render_quality=self.render_quality,
                settings=self.settings,
            )
            for seed in self.seeds
            for task in self.tasks
        ]


def learn(
    curves: Curves, out: Path, jobs: int = 1, report: Callable[[Finished], None] = lambda _: None
) -> list[Finished]:
    """Runs what is not done and writes each run's row as soon as it ends; returns what failed.

    Args:
        curves: What to run.
        out: Folder for everything.
        jobs: Processes at a time, one thread each.
        report: Called as each run ends.
    """
    specs, home, file = curves.jobs(), out / "jobs", out / RESULTS

    def ended(end: Finished) -> None:
        save_rows([*stored_rows(file), *collect(specs, home)], file)
        report(end)

    try:
        return run_queue(specs, home, jobs, ended)
    finally:
        save_rows([*stored_rows(file), *collect(specs, home)], file)


def collect(specs: Sequence[CurveSpec], home: Path) -> list[dict[str, Any]]:
    """Returns a row per run that was started; an unfinished one says how far it came."""
    rows = []
    for spec in specs:
        folder = home / spec.name
        if (folder / RESULT).exists():
            row = json.loads((folder / RESULT).read_text())
            if row["spec"] == asdict(spec):
                rows.append({**row, "finished": True})
                continue
        curve = read_curve(folder / RUN / "metrics.jsonl")
        if curve:
            started = {"spec": asdict(spec), "task": spec.task, "seed": spec.seed}
            came = {"curve": curve, "commits": commits(folder), "finished": False}
            rows.append({**started, **came})
    return rows
