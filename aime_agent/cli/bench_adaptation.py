"""``aime-agent bench adaptation``: does meta-training pay; resumes itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from aime_agent.cli.bench_words import check_bench, read_seeds, say, show_tables, split
from aime_agent.cli.words import settings

if TYPE_CHECKING:
    from aime_agent.training.bench.queue import Finished


@dataclass(frozen=True, kw_only=True)
class BenchAdaptationArgs:
    """Adapt meta-trained, fine-tuned and untrained policies to new tasks; start it again and it goes on."""

    family: Positional[Annotated[str, arg(metavar="FAMILY")]]
    """navigation2d, laws, cheetah-vel, ..."""
    arms: str = "maml,fine-tuned,scratch"
    """Arms, comma-separated: also second-order, heads, context, gating, bilinear, film, single-key, flat,
    no-context, no-rewards, spread, free, focused, no-units."""
    seeds: str = "0,1,2"
    """Seeds, comma-separated."""
    iterations: int = 60
    """Meta-updates per run."""
    tasks: int = 20
    """Tasks to test with, the same for all; all laws where there are fewer."""
    steps: int = 5
    """Inner steps there."""
    preset: str = "cpu"
    """Size of the runs: smoke, cpu, gpu or seed."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting of all runs, e.g. --set adaptation_lr=0.05."""
    jobs: int = 2
    """Runs at a time, one thread each."""
    out: Annotated[str, arg(metavar="DIR")] = "runs/adaptation"
    """Folder for the runs."""
    results: Annotated[str, arg(metavar="FILE.json")] = "benchmarks/results/adaptation.json"
    """Rows of all runs, added to after every one."""
    page: Annotated[str | None, arg(metavar="FILE.md")] = None
    """Rewrite this page's tables and pictures from --results."""
    pages_only: bool = False
    """Run nothing: rewrite the page from the results that are there."""


def bench_adaptation(args: BenchAdaptationArgs) -> int:
    """Runs what is not done yet; 1 if a run failed."""
    check_bench(args.jobs, args.page, args.pages_only)
    failed = [] if args.pages_only else _compare(args)
    _show(Path(args.results), args.page)
    return 1 if failed else 0


def _compare(args: BenchAdaptationArgs) -> "list[Finished]":
    from aime_agent.meta.adaptation_arms import check_arms
    from aime_agent.meta.adaptation_bench import AdaptationJob, compare_adaptation
    from aime_agent.meta.named import check_family
    from aime_agent.meta.presets import meta_preset

    more = settings(args.set)
    check_family(args.family)
    check_arms(split(args.arms), args.family)
    meta_preset(args.preset, args.family, **more)
    jobs = [
        AdaptationJob(
            family=args.family, arm=arm, seed=seed, iterations=args.iterations, preset=args.preset,
            tasks=args.tasks, steps=args.steps, settings=more,
        )
        for seed in read_seeds(args.seeds)
        for arm in split(args.arms)
    ]  # fmt: skip
    home = Path(args.out)
    print(f"{len(jobs)} runs, {args.jobs} at a time; logs in {home}/*/log.txt")
    failed = compare_adaptation(jobs, home, Path(args.results), args.jobs, say)
    print(f"results in {args.results}")
    return failed


def _show(results: Path, page: str | None) -> None:
    """Prints the tables and rewrites the page with its pictures."""
    from aime_agent.meta.adaptation_report import plot, report_tables

    rows = show_tables(results, page, report_tables)
    if page is not None:
        for family in dict.fromkeys(row["family"] for row in rows):
            plot(rows, family, Path(page).parent / "images" / f"adaptation_{family}.png")
