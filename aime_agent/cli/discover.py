"""``aime-agent meta discover``: a law for a task of the catalogue, or for a table of your own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from aime_agent.errors import ConfigError

if TYPE_CHECKING:
    from aime_agent.meta.discover import Discovery
    from aime_agent.meta.search import Progress
    from aime_agent.symbolic.tasks import PhysicsTask


SEARCHERS = ("risk-seeking", "random")


@dataclass(frozen=True, kw_only=True)
class DiscoverArgs:
    """Find the law behind a task or a table by risk-seeking policy search; Ctrl-C keeps the best."""

    task: Positional[Annotated[str, arg(metavar="TASK|FILE.csv")]]
    """harmonic_oscillator, kepler_orbit, nguyen_1, ... or a table with a header, its target last."""
    evaluations: int = 20_000
    """Most laws to propose; the search ends early once the true law is found."""
    seed: int = 0
    """Decides everything random."""
    method: Annotated[str, arg(metavar="{" + ",".join(SEARCHERS) + "}")] = "risk-seeking"
    """Who proposes: a policy that learns from its best laws, or nobody."""
    no_units: bool = False
    """Let laws ignore units where the task has some."""
    noise: bool = False
    """Disturb the target by 1 percent of its spread."""
    measured: bool = False
    """Rows from MuJoCo instead of the formula (dmc_pendulum_accel, dmc_point_mass_accel)."""
    max_nodes: int | None = None
    """Largest law in nodes; None for the task's own limit."""
    max_constants: int = 2
    """Most fitted numbers in the law of a table."""
    out: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Where to write law, figures and settings; None for runs/discover/TASK-METHOD-sSEED.json."""
    picture: Annotated[str | None, arg(metavar="FILE.png")] = None
    """Also draw the law's tree, and its values beside the data."""


def run(args: DiscoverArgs) -> int:
    """Searches, prints and writes; 130 if it was interrupted."""
    from aime_agent.meta.discover import DiscoverConfig, discover, save_report
    from aime_agent.meta.search import SearchConfig
    from aime_agent.training.interrupts import Wish, listening
    from aime_agent.training.progress import Meter
    from aime_agent.training.seeding import numpy_rng

    task = _task(args)
    config = DiscoverConfig(
        method=args.method,
        seed=args.seed,
        units=False if args.no_units else None,
        noise=args.noise,
        max_nodes=args.max_nodes,
        search=SearchConfig(evaluations=args.evaluations),
    )
    samples = None
    if args.measured:
        from aime_agent.envs.dmc_laws import measured

        samples = measured(task, task.rows, numpy_rng(args.seed, "rows"))
    meter, wish = Meter(args.evaluations, "laws"), Wish()

    def watch(progress: "Progress") -> bool:
        best = 0.0 if progress.best is None else progress.best.reward
        meter.show(progress.evaluations, f"best reward {best:.4f}")
        return bool(wish)

    try:
        with listening(wish):
            found = discover(task, config, samples, watch)
    finally:
        meter.close()
    name = f"{task.name}-{args.method}-s{args.seed}.json"
    out = save_report(found, Path(args.out or Path("runs", "discover", name)))
    for line in lines(found):
        print(line)
    print(f"written to {out}")
    if args.picture is not None:
        from aime_agent.meta.law_picture import save_picture

        print(f"drawn to {save_picture(found, Path(args.picture))}")
    return 130 if found.outcome.interrupted else 0


def lines(found: "Discovery") -> list[str]:
    """Returns what is said of a found law."""
    outcome, task = found.outcome, found.task
    if outcome.best is None:
        return [f"{task.name}: interrupted before the first law"]
    shown = [
        f"{task.name}: {task.target} = {found.simplified or found.law}",
        f"  as found        {found.law}",
        f"  reward          {outcome.best.reward:.4f}   NRMSE {outcome.best.nrmse:.3g}",
    ]
    if found.verdict is not None:
        answer = "yes" if found.verdict.equal else "no"
        shown.append(f"  the true law    {answer} ({found.verdict.how.value})")
        if not found.verdict.equal:
            shown.append(f"  true is         {task.law}")
    counted = f"  evaluations     {outcome.evaluations:,} ({outcome.distinct:,} different laws"
    shown.append(f"{counted}, {outcome.fit_calls:,} more to fit constants)")
    if outcome.interrupted:
        shown.append("  interrupted: this is the best law so far")
    return shown


def _task(args: DiscoverArgs) -> "PhysicsTask":
    """Returns the task that is named, or that of a table."""
    from aime_agent.symbolic.catalogue import find_task
    from aime_agent.symbolic.samples import read_csv
    from aime_agent.symbolic.tasks import task_from_data

    path = Path(args.task)
    if path.suffix != ".csv":
        return find_task(args.task)
    if alien := [name for name in ("noise", "measured", "no_units") if getattr(args, name)]:
        raise ConfigError(
            f"--{alien[0].replace('_', '-')} is for tasks of the catalogue, not tables"
        )
    names, samples = read_csv(path)
    return task_from_data(names, samples, path.stem, args.max_constants)
