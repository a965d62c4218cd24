"""``aime-agent bench dmc100k``: learning curves from pixels, beside published ones; resumes itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import UseAppendAction, arg

from aime_agent.cli.bench_words import check_bench, read_seeds, say, split
from aime_agent.cli.words import settings
from aime_agent.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from aime_agent.training.bench.queue import Finished

_TASKS = "cartpole-balance,cartpole-swingup,walker-stand,walker-walk,finger-spin,ball_in_cup-catch"


@dataclass(frozen=True, kw_only=True)
class BenchCurvesArgs:
    """Learn tasks from pixels, every seed shown; start it again and it goes on."""

    tasks: str = _TASKS
    """Suite tasks, comma-separated."""
    seeds: str = "0"
    """Seeds, comma-separated."""
    frames: int = 100_000
    """Physics control steps per run."""
    points: int = 10
    """Evaluations per run, the last one after the last frame."""
    episodes: int = 10
    """Deterministic episodes per evaluation."""
    preset: str = "small"
    """Size of the model."""
    render_quality: str = "fast"
    """Look of the frames, in training and evaluation."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting of training, e.g. --set agent.horizon=5."""
    jobs: int = 2
    """Runs at a time, one thread each."""
    out: Annotated[str, arg(metavar="DIR")] = "runs/dmc100k"
    """Folder for runs, results and the picture."""
    published: Annotated[str, arg(metavar="FILE")] = "benchmarks/baselines/dmc100k_published.json"
    """Other people's curves to draw beside ours."""
    page: Annotated[str | None, arg(metavar="FILE.md")] = None
    """Rewrite this page's tables from the results of --out, and put the picture beside it."""
    pages_only: bool = False
    """Run nothing: rewrite the page from the results that are there."""


def bench_curves(args: BenchCurvesArgs) -> int:
    """Runs what is not done yet; 1 if a run failed."""
    check_bench(args.jobs, args.page, args.pages_only)
    out = Path(args.out)
    failed = [] if args.pages_only else _learn(args, out)
    _show(args, out)
    return 1 if failed else 0


def _learn(args: BenchCurvesArgs, out: Path) -> "list[Finished]":
    from aime_agent.training.bench.dmc100k import RESULTS, Curves, learn

    curves = Curves(
        tasks=split(args.tasks),
        seeds=read_seeds(args.seeds),
        frames=args.frames,
        points=args.points,
        episodes=args.episodes,
        preset=args.preset,
        render_quality=args.render_quality,
        settings=settings(args.set),
    )
    print(f"{len(curves.jobs())} runs, {args.jobs} at a time; logs in {out / 'jobs'}/*/log.txt")
    failed = learn(curves, out, args.jobs, say)
    print(f"results in {out / RESULTS}")
    return failed


def _show(args: BenchCurvesArgs, out: Path) -> None:
    """Prints the table, draws the picture, rewrites the page."""
    from aime_agent.training.bench.dmc100k import RESULTS
    from aime_agent.training.bench.dmc100k_report import PICTURE, plot, report_tables
    from aime_agent.training.bench.published import load_published
    from aime_agent.training.bench.rows import stored_rows
    from aime_agent.training.bench.tables import fill_page

    rows = stored_rows(out / RESULTS)
    if not rows:
        raise DataError(f"{out / RESULTS}: at least one run required, found none")
    published = load_published(Path(args.published))
    tables = report_tables(rows, published)
    print(tables["results"], tables["summary"], sep="\n")
    picture = out / PICTURE
    if args.page is not None:
        page = Path(args.page)
        picture = page.parent / "images" / PICTURE
        fill_page(page, tables)
    try:
        plot(rows, published, picture)
        print(f"curves in {picture}")
    except MissingDependencyError as error:
        print(error)
