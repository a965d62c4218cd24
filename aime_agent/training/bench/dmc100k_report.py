"""What learning curves say: a table beside published ones, their cost, a summary, a picture.

A score is the last evaluation of a finished run, not its best; of several runs of one task and seed
it is the one that was added last.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aime_agent.functional.statistics import bootstrap
from aime_agent.training.bench.dmc100k import AIMS
from aime_agent.training.bench.published import LABELS, Published, methods
from aime_agent.training.bench.rows import Row
from aime_agent.training.bench.tables import markdown
from aime_agent.training.plotting import new_figure

PICTURE = "dmc100k.png"
_BEST = 1000.0
_NONE = "–"  # noqa: RUF001 (an en dash is meant)


def finished(rows: Sequence[Row], task: str) -> list[Row]:
    """Returns the last finished run of every seed of a task, by seed."""
    found: dict[int, Row] = {}
    for row in rows:
        if row["task"] == task and row["finished"]:
            found[row["seed"]] = row
    return [found[seed] for seed in sorted(found)]


def scores(rows: Sequence[Row], task: str) -> list[float]:
    """Last evaluations of a task, by seed."""
    return [row["curve"][-1]["return"] for row in finished(rows, task)]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """Tasks in the order of `AIMS`, others behind."""
    found = {r["task"] for r in rows}
    return [*(t for t in AIMS if t in found), *sorted(found - set(AIMS))]


def results_table(rows: Sequence[Row], published: Published) -> str:
    """Every seed's last evaluation, its mean, and the published means at the same frames."""
    tasks = tasks_of(rows)
    others = methods(published, tasks)
    head = ["task", "seeds", "mean", *(LABELS[m] for m in others), "aim"]
    body = []
    for task in tasks:
        found = scores(rows, task)
        frames = max(r["spec"]["frames"] for r in rows if r["task"] == task)
        known = [published.mean(task, m, frames) for m in others]
        body.append(
            [
                task,
                ", ".join(f"{x:.0f}" for x in found) or "unfinished",
                f"**{statistics.fmean(found):.0f}**" if found else _NONE,
                *(_NONE if x is None else f"{x:.0f}" for x in known),
                f"≥ {AIMS[task]}" if task in AIMS else _NONE,
            ]
        )
    return markdown(head, body)


def cost_table(rows: Sequence[Row]) -> str:
    """What every finished run cost, and from which code it comes."""
    head = ["run", "frames", "updates", "processor minutes", "minutes", "parameters", "commit"]
    body = []
    for row in [r for task in tasks_of(rows) for r in finished(rows, task)]:
        last, size = row["curve"][-1], row["parameters"]
        body.append(
            [
                f"{row['task']}, seed {row['seed']}",
                f"{last['frames']:,}",
                f"{last['update']:,}",
                f"{last['cpu_seconds'] / 60:.0f}",
                f"{last['wall_seconds'] / 60:.0f}",
                f"{size['world_model']:,} + {size['behaviour']:,}",
                ", ".join(f"`{c}`" for c in row["commits"]),
            ]
        )
    return markdown(head, body)


def summary(rows: Sequence[Row], seed: int = 0) -> str:
    """One sentence: interquartile mean over all runs with its stratified bootstrap interval.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
    """
    by_task = [np.array(scores(rows, task)) / _BEST for task in tasks_of(rows)]
    by_task = [s for s in by_task if len(s)]
    if not by_task:
        return "No run has finished.\n"
    found = bootstrap(by_task, np.random.default_rng(seed), draws=20_000)
    return (
        f"Interquartile mean over {sum(map(len, by_task))} runs of {len(by_task)} tasks: "
        f"{_BEST * found.value:.0f} (95 % {_BEST * found.low:.0f} to {_BEST * found.high:.0f}).\n"
    )


def plot(rows: Sequence[Row], published: Published, path: Path) -> None:
    """Draws every seed's curve, and published means dotted.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    tasks = tasks_of(rows)
    wide = min(3, len(tasks))
    tall = -(-len(tasks) // wide)
    figure = new_figure(figsize=(5 * wide, 3.8 * tall))
    axes = figure.subplots(tall, wide, squeeze=False)
    for axis, task in zip(axes.flat, tasks, strict=False):
        _panel(axis, task, rows, published)
    for axis in axes.flat[len(tasks) :]:
        axis.axis("off")
    labelled = [axis.get_legend_handles_labels() for axis in axes.flat]
    lines = {
        label: line for lines, labels in labelled for line, label in zip(lines, labels, strict=True)
    }
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=len(lines), fontsize=9)
    figure.tight_layout(rect=(0, 0.25 / tall / 2, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _panel(axis: Any, task: str, rows: Sequence[Row], published: Published) -> None:
    """One task."""
    found = sorted((r for r in rows if r["task"] == task), key=lambda r: r["seed"])
    for i, row in enumerate(found):
        x = [p["frames"] / 1000 for p in row["curve"]]
        y = [p["return"] for p in row["curve"]]
        label = "AIME, each seed" if i == 0 else None
        axis.plot(x, y, color="#0072B2", marker=".", linewidth=1.8, label=label)
    colors = ("#E69F00", "#009E73", "#CC79A7", "#999999", "#D55E00")
    for color, method in zip(colors, LABELS, strict=True):
        curve = published.mean_curve(task, method)
        if curve:
            x, y = [f / 1000 for f, _ in curve], [r for _, r in curve]
            axis.plot(x, y, color=color, linestyle=":", linewidth=1.8, label=LABELS[method])
    axis.set(title=task, xlabel="thousand frames", ylabel="return", ylim=(0, 1020), xlim=(0, None))


def report_tables(rows: Sequence[Row], published: Published) -> dict[str, str]:
    """All that a page can ask for, by name."""
    return {
        "results": results_table(rows, published),
        "cost": cost_table(rows),
        "summary": summary(rows),
    }
