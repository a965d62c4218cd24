"""Rewrites the tables of docs/symbolic.md from the tasks and from the results of bench_symbolic.

Usage: python scripts/make_symbolic.py
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from aime_agent.symbolic.catalogue import SUITES, TASKS
from aime_agent.symbolic.tasks import PhysicsTask
from aime_agent.training.bench.tables import fill, markdown

RESULTS = Path("benchmarks/results/meta")


@dataclass(frozen=True)
class Args:
    """What is read, and what is rewritten."""

    results: Path = RESULTS
    """Folder of the JSON files."""
    page: Path = Path("docs/symbolic.md")
    """The page whose tables are rewritten."""


def tables(folder: Path) -> dict[str, str]:
    """Returns the page's tables by name."""
    made = {f"tasks {suite}": task_table(tasks) for suite, tasks in SUITES.items()}
    stored = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    for suite in sorted({found["suite"] for found in stored}):
        made[f"results {suite}"] = result_table([f for f in stored if f["suite"] == suite])
    return made


def task_table(tasks: Iterable[PhysicsTask]) -> str:
    """Returns name, law, inputs with their units, and the law's size."""
    rows = [
        [
            f"`{task.name}`",
            f"{task.target}{unit(task.unit)} = `{task.law if len(task.law) < 60 else 'see the source'}`",
            ", ".join(f"{v.name}{unit(v.unit)}" for v in task.inputs),
            str(len(task.expression.tokens)),
        ]
        for task in tasks
    ]
    return markdown(["task", "law", "inputs", "nodes"], rows)


def unit(text: str) -> str:
    """Returns a unit in brackets; nothing for plain numbers."""
    return f" [{text}]" if text not in ("", "rad") else ""


def result_table(files: list[Mapping[str, Any]]) -> str:
    """Returns, per task and method, how many seeds found the law and after how many evaluations."""
    names = [name for name in TASKS if any(name == r["task"] for f in files for r in f["runs"])]
    head = ["task", *(column for f in files for column in (heading(f), "evaluations"))]
    rows = [[f"`{name}`", *(cell for f in files for cell in cells(f, name))] for name in names]
    total = ["recovered", *(cell for f in files for cell in totals(f))]
    return markdown(head, [*rows, total])


def heading(found: Mapping[str, Any]) -> str:
    """Returns who searched, and for how long at most."""
    return f"{found['method']}, at most {found['config']['search']['evaluations']:,}"


def cells(found: Mapping[str, Any], name: str) -> list[str]:
    """Returns recovered / seeds, and the median count of the runs that recovered."""
    runs = [run for run in found["runs"] if run["task"] == name]
    solved = [run["solved_at"] for run in runs if run["solved_at"] is not None]
    if not runs:
        return ["-", "-"]
    return [f"{len(solved)}/{len(runs)}", f"{statistics.median(solved):,.0f}" if solved else "-"]


def totals(found: Mapping[str, Any]) -> list[str]:
    """Returns recovered runs of all, and the share."""
    solved = sum(run["solved_at"] is not None for run in found["runs"])
    return [f"{solved}/{len(found['runs'])}", ""]


def main(args: Args) -> None:
    text = args.page.read_text(encoding="utf-8")
    args.page.write_text(fill(text, tables(args.results)), encoding="utf-8")
    print(f"tables rewritten in {args.page}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
