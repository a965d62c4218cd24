"""Recovers laws by risk-seeking and by random search, at equal counts and under the same rules.

Usage: python scripts/bench_symbolic.py --suite laws --evaluations 20000 --seeds 3

Runs that the file of results holds already are skipped, so an interrupted benchmark goes on. One
process, one thread: run it niced beside other work.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tyro.conf import arg

from aime_agent.configs import config_hash, to_dict
from aime_agent.data.files import write_json
from aime_agent.meta.discover import METHODS, DiscoverConfig, discover, report
from aime_agent.meta.search import SearchConfig
from aime_agent.symbolic.catalogue import find_suite, find_task
from aime_agent.symbolic.tasks import PhysicsTask

KEPT = (
    "task", "recovered", "how", "simplified", "solved_at", "evaluations", "distinct", "fit_calls",
    "reward", "nrmse", "extrapolation_nrmse", "nodes", "seconds", "seed",
)  # fmt: skip
"""Of a report."""


@dataclass(frozen=True)
class Args:
    """What is run, and where results go."""

    suite: str = "laws"
    """laws, dmc, feynman or nguyen."""
    tasks: str = ""
    """Of these, comma-separated, only some."""
    leave_out: str = ""
    """Tasks to leave out, comma-separated."""
    methods: str = ",".join(METHODS)
    """Who searches, comma-separated."""
    evaluations: int = 20_000
    """Most laws that are proposed in a run."""
    seeds: int = 3
    """Seeds 0 to N - 1."""
    units: bool = True
    """Whether units must fit where a task has some."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("benchmarks/results/meta")
    """Folder of the JSON files, one per suite, method, count and use of units."""


def chosen(args: Args) -> list[PhysicsTask]:
    """Returns the tasks to run."""
    names = [name.strip() for name in args.tasks.split(",") if name.strip()]
    left_out = {find_task(name.strip()).name for name in args.leave_out.split(",") if name.strip()}
    tasks = [find_task(name) for name in names] or list(find_suite(args.suite))
    return [task for task in tasks if task.name not in left_out]


def results_file(args: Args, method: str) -> Path:
    """Returns where a method's results go."""
    units = "" if args.units else "-no-units"
    return args.out / f"{args.suite}-{method}-{args.evaluations}{units}.json"


def pending(
    args: Args, stored: Mapping[str, Any], tasks: list[PhysicsTask]
) -> Iterator[tuple[PhysicsTask, int]]:
    """Yields tasks and seeds that have no result yet, all tasks with the first seed first."""
    done = {(run["task"], run["seed"]) for run in stored["runs"]}
    for seed in range(args.seeds):
        for task in tasks:
            if (task.name, seed) not in done:
                yield task, seed


def run_method(args: Args, method: str) -> None:
    path = results_file(args, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    units = None if args.units else False
    config = DiscoverConfig(
        method=method, units=units, search=SearchConfig(evaluations=args.evaluations)
    )
    stored: dict[str, Any] = {"suite": args.suite, "method": method, "runs": []}
    stored |= {"config": to_dict(config), "config_hash": config_hash(config)}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["config_hash"] != stored["config_hash"]:
            raise SystemExit(f"{path} holds results of other settings: move it away")
        stored = found
    for task, seed in pending(args, stored, chosen(args)):
        one = DiscoverConfig(method=method, units=units, search=config.search, seed=seed)
        full = report(discover(task, one))
        stored["runs"].append({key: full[key] for key in KEPT})
        stored["versions"] = full["versions"]
        write_json(path, stored)
        print(
            f"{task.name} {method} seed {seed}: {full['solved_at']} {full['simplified']}",
            flush=True,
        )


def main(args: Args) -> None:
    torch.set_num_threads(1)
    for method in args.methods.split(","):
        run_method(args, method.strip())


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
