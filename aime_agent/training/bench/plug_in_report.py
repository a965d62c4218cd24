"""What the comparison at equal real frames says: one table per task.

A score is the mean return of a finished run's deterministic episodes; of several runs of one arm and
seed it is the one that was added last. Only runs of the largest number of frames are shown.
"""

import statistics
from collections.abc import Mapping, Sequence

from aime_agent.training.bench.arm_spec import ARMS
from aime_agent.training.bench.rows import Row
from aime_agent.training.bench.tables import markdown

_NONE = "–"  # noqa: RUF001 (an en dash is meant)
_HEAD = [
    "arm", "real frames, world's + own", "seeds", "mean", "processor minutes, world's + own",
    "processor ms per action", "parameters", "world's", "commit",
]  # fmt: skip


def report_tables(rows: Sequence[Row]) -> dict[str, str]:
    """All that a page can ask for, by name."""
    tasks = dict.fromkeys(row["task"] for row in rows if row["arm"] in ARMS)
    return {f"plug-in {task}": table(rows, task) for task in tasks}


def table(rows: Sequence[Row], task: str) -> str:
    """Returns how it was measured, and a line per arm."""
    arms = [row for row in rows if row["task"] == task and row["arm"] in ARMS]
    most = max(row["spec"]["frames"] for row in arms)
    arms = [row for row in arms if row["spec"]["frames"] == most]
    found = {name: _by_seed([row for row in arms if row["arm"] == name]) for name in ARMS}
    lines = [_line(name, seeds) for name, seeds in found.items() if seeds]
    return f"{_how(arms)}\n\n{markdown(_HEAD, lines)}"


def _by_seed(rows: Sequence[Row]) -> dict[int, Row]:
    """The last finished run of every seed, else its last one."""
    found: dict[int, Row] = {}
    for row in sorted(rows, key=lambda r: r["finished"]):
        found[row["seed"]] = row
    return dict(sorted(found.items()))


def _line(name: str, seeds: Mapping[int, Row]) -> list[str]:
    """What the runs of an arm came to."""
    done = [row for row in seeds.values() if row["finished"]]
    shown = ", ".join(
        f"{r['return']:.0f}" if r["finished"] else "unfinished" for r in seeds.values()
    )
    if not done:
        return [f"`{name}`", _NONE, shown, *[_NONE] * (len(_HEAD) - 3)]
    frames, world = done[-1]["real_frames"], done[-1]["world"]
    commits = dict.fromkeys(c for row in done for c in row["commits"])
    return [
        f"`{name}`",
        f"{frames['world']:,} + {frames['own']:,}",
        shown,
        f"**{statistics.fmean(r['return'] for r in done):.0f}**",
        f"{_minutes([r['world'] for r in done])} + {_minutes([r['training'] for r in done])}",
        f"{statistics.fmean(_per_action(r) for r in done):.0f}",
        f"{done[-1]['parameters']:,}",
        f"{world['parameters']:,}" if world else _NONE,
        ", ".join(f"`{c}`" for c in commits),
    ]


def _minutes(costs: Sequence[Mapping[str, float | None] | None]) -> str:
    """Mean processor minutes; unknown if a run does not say."""
    seconds = [0.0 if cost is None else cost["cpu_seconds"] for cost in costs]
    known = [s for s in seconds if s is not None]
    return f"{statistics.fmean(known) / 60:.1f}" if known == seconds else _NONE


def _per_action(row: Row) -> float:
    """Milliseconds of an action in the evaluation, simulation and rendering included."""
    return 1000 * float(row["evaluation"]["cpu_seconds"]) / sum(row["lengths"])


def _how(rows: Sequence[Row]) -> str:
    """One sentence that says what all runs have in common."""
    spec = rows[-1]["spec"]
    repeat = next((row["action_repeat"] for row in rows if row["finished"]), _NONE)
    return (
        f"{spec['task']}, {spec['frames']:,} real frames, render quality `{spec['render_quality']}`, "
        f"action repeat {repeat}, world models `{spec['preset']}`; mean return of {spec['episodes']} "
        f"deterministic episodes per seed; `ppo-dream` also has {spec['dream_frames']:,} dreamt frames."
    )
