"""``aime-agent bench plug-in``: who makes most of equal real frames; resumes itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import UseAppendAction, arg

from aime_agent.cli.bench_words import check_bench, read_seeds, say, show_tables, split
from aime_agent.cli.words import settings
from aime_agent.errors import ConfigError

if TYPE_CHECKING:
    from aime_agent.training.bench.queue import Finished

_ARMS = "random,sac-pixels,agent,mppi,sac-beliefs,sac-beliefs-slots,ppo-dream"


@dataclass(frozen=True, kw_only=True)
class BenchPlugInArgs:
    """Compare agent, planner and Stable-Baselines3 at equal real frames; start it again and it goes on."""

    task: str = "cartpole-balance"
    """Suite task."""
    seeds: str = "0,1,2"
    """Seeds, comma-separated."""
    arms: str = _ARMS
    """Arms, comma-separated."""
    frames: int = 100_000
    """Real physics control steps per arm, those of its world model included."""
    episodes: int = 10
    """Deterministic episodes that a score is the mean of."""
    preset: str = "small"
    """Size of the world models."""
    render_quality: str = "fast"
    """Look of the frames, in training and evaluation."""
    dream_frames: int = 1_000_000
    """Frames that ppo-dream trains on, dreamt."""
    worlds: Annotated[str | None, arg(metavar="DIR")] = None
    """Take world models from runs below this folder that were trained with the same settings."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting of the world models' training, e.g. --set agent.horizon=5."""
    set_sb3: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting of training with Stable-Baselines3, e.g. --set-sb3 horizon=50."""
    jobs: int = 2
    """Runs at a time, one thread each."""
    out: Annotated[str, arg(metavar="DIR")] = "runs/plug-in"
    """Folder for the runs."""
    results: Annotated[str, arg(metavar="FILE.json")] = "benchmarks/results/plug_in.json"
    """Rows of all runs, added to after every one."""
    page: Annotated[str | None, arg(metavar="FILE.md")] = None
    """Rewrite this page's tables from --results."""
    pages_only: bool = False
    """Run nothing: rewrite the page from the results that are there."""


def bench_plug_in(args: BenchPlugInArgs) -> int:
    """Runs what is not done yet; 1 if a run failed."""
    check_bench(args.jobs, args.page, args.pages_only)
    failed = [] if args.pages_only else _compare(args)
    _show(Path(args.results), args.page)
    return 1 if failed else 0


def _compare(args: BenchPlugInArgs) -> "list[Finished]":
    from aime_agent.training.bench.plug_in import PlugIn, compare

    if args.worlds is not None and not Path(args.worlds).is_dir():
        raise ConfigError(f"--worlds must be a folder with runs, found {args.worlds!r}")
    plug_in = PlugIn(
        task=args.task,
        seeds=read_seeds(args.seeds),
        arms=split(args.arms),
        frames=args.frames,
        episodes=args.episodes,
        preset=args.preset,
        render_quality=args.render_quality,
        dream_frames=args.dream_frames,
        settings=settings(args.set),
        sb3=settings(args.set_sb3),
    )
    out, worlds = Path(args.out), None if args.worlds is None else Path(args.worlds)
    print(f"{args.jobs} runs at a time; logs in {out / 'jobs'}/*/log.txt")
    failed = compare(plug_in, out, Path(args.results), args.jobs, worlds, say)
    print(f"results in {args.results}")
    return failed


def _show(results: Path, page: str | None) -> None:
    """Prints the tables and rewrites the page."""
    from aime_agent.training.bench.plug_in_report import report_tables

    show_tables(results, page, report_tables)
