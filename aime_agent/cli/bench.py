"""``aime-agent bench world-model``: every arm against its base, over the cores; resumes itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from aime_agent.cli.bench_words import check_bench, say, split

if TYPE_CHECKING:
    from aime_agent.training.bench.queue import Finished


@dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Compare the world model's arms on stored episodes; start it again and it goes on."""

    tasks: str = "cartpole-swingup,walker-walk"
    """Suite tasks, comma-separated."""
    arms: str = "all"
    """Arms, comma-separated: default, rssm, gaussian, ... (see training/bench/arms.py)."""
    seeds: int = 1
    """Seeds 0 to N − 1 of every arm."""
    preset: str = "small"
    """Preset that the arms start from."""
    updates: int = 3000
    """World-model updates per job."""
    evaluations: int = 10
    """Points of the curves over updates."""
    train_episodes: int = 40
    """Episodes of random actions to learn from, per task."""
    held_out_episodes: int = 10
    """Episodes to judge on."""
    episode_steps: int = 250
    """Actions per episode, at an action repeat of 2."""
    jobs: int = 1
    """Processes at a time, one thread each."""
    data: Annotated[str | None, arg(metavar="DIR")] = None
    """Where TASK.npz with the episodes lies, or goes; None for OUT/data."""
    out: Annotated[str, arg(metavar="DIR")] = "runs/bench-world-model"
    """Folder for jobs, results and pictures."""
    page: Annotated[str | None, arg(metavar="FILE.md")] = None
    """Rewrite this page's tables from the results of --out, and copy the pictures beside it."""
    pages_only: bool = False
    """Run nothing: rewrite the page from the results that are there."""


def bench(args: BenchArgs) -> int:
    """Runs what is not done yet; 1 if a job failed."""
    check_bench(args.jobs, args.page, args.pages_only)
    from aime_agent.training.bench.comparison import RESULTS, publish

    out = Path(args.out)
    failed = [] if args.pages_only else _compare(args, out)
    if args.page is not None:
        publish(out / RESULTS, Path(args.page))
        print(f"tables rewritten in {args.page}")
    return 1 if failed else 0


def _compare(args: BenchArgs, out: Path) -> "list[Finished]":
    from aime_agent.training.bench.comparison import RESULTS, Comparison, compare

    comparison = Comparison(
        tasks=split(args.tasks),
        arms=args.arms,
        seeds=args.seeds,
        preset=args.preset,
        updates=args.updates,
        evaluations=args.evaluations,
        train_episodes=args.train_episodes,
        held_out_episodes=args.held_out_episodes,
        episode_steps=args.episode_steps,
    )
    data = None if args.data is None else Path(args.data)
    failed = compare(comparison, out, data, args.jobs, say)
    print(f"results in {out / RESULTS}")
    return failed
