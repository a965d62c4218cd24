"""Tables and pictures of the adaptation benchmark.

A number is the mean over test tasks, then over seeds, with the 95 % interval over (seed, task) pairs.
Arms are also compared pair by pair (same task, same seed) with ``maml``: a two-sided sign test.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.stats import binomtest

from aime_agent.meta.adaptation_arms import ARMS
from aime_agent.training.bench.rows import Row
from aime_agent.training.bench.tables import markdown
from aime_agent.training.evaluate import interval
from aime_agent.training.plotting import new_figure

_SHOWN = (0, 1, 3, 5)
_NONE = "–"  # noqa: RUF001 (an en dash is meant)


def report_tables(rows: Sequence[Row]) -> dict[str, str]:
    """Returns a table per family."""
    families = dict.fromkeys(row["family"] for row in rows)
    return {f"adaptation {family}": table(rows, family) for family in families}


def table(rows: Sequence[Row], family: str) -> str:
    """One line per arm: mean return after 0, 1, 3 and 5 inner steps, against ``maml`` at the last."""
    arms = by_arm(rows, family)
    steps = [k for k in _SHOWN if k < min(a.shape[1] for a in arms.values())]
    digits = 3 if max(np.abs(a).max() for a in arms.values()) <= 1.0 else 1
    laws = any(np.any(row["solved"]) for row in rows if row["family"] == family)
    head = ["arm", "seeds", *(f"after {k}" for k in steps), "pairs better than maml (sign test)"]
    head += ["laws found"] * laws + ["processor minutes", "episodes", "commit"]
    body = []
    for name, returns in arms.items():
        mine = [row for row in rows if row["family"] == family and row["arm"] == name]
        body.append(
            [
                f"`{name}`",
                str(len(mine)),
                *(_with_interval(returns[:, k], digits) for k in steps),
                _NONE if name == "maml" or "maml" not in arms else against(mine, rows, family),
                *([f"{np.mean([np.array(r['solved'])[:, -1] for r in mine]):.0%}"] * laws),
                f"{np.mean([r['training_cpu_seconds'] for r in mine]) / 60:.1f}",
                f"{np.mean([r['training_episodes'] for r in mine]):,.0f}",
                ", ".join(f"`{c}`" for c in dict.fromkeys(c for r in mine for c in r["commits"])),
            ]
        )
    return markdown(head, body)


def by_arm(rows: Sequence[Row], family: str) -> Mapping[str, Float64[np.ndarray, "P K"]]:
    """Returns per arm the returns of all (seed, task) pairs after each number of steps."""
    found: dict[str, Any] = {}
    for name in ARMS:
        mine = [r["returns"] for r in rows if r["family"] == family and r["arm"] == name]
        if mine:
            found[name] = np.concatenate([np.array(r, float) for r in mine])
    return found


def against(mine: Sequence[Row], rows: Sequence[Row], family: str) -> str:
    """Returns how many (seed, task) pairs end above ``maml``'s, and how likely that is by chance."""
    pairs = []
    for row in mine:
        for other in rows:
            same = (other["family"], other["arm"], other["seed"]) == (family, "maml", row["seed"])
            if same and other["tasks"] == row["tasks"]:
                last = (np.array(r["returns"], float)[:, -1] for r in (row, other))
                pairs += list(zip(*last, strict=True))
    better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    if better + worse == 0:
        return _NONE
    chance = binomtest(better, better + worse).pvalue
    return f"{better} of {better + worse} (p = {chance:.2g})"


def plot(rows: Sequence[Row], family: str, path: Path) -> None:
    """Draws mean return against inner steps, a line per arm, with 95 % intervals.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = new_figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    colors = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999")
    for i, (name, returns) in enumerate(by_arm(rows, family).items()):
        steps = np.arange(returns.shape[1])
        bounds = [interval(tuple(returns[:, k])) or (np.nan, np.nan) for k in steps]
        low, high = np.array(bounds).T
        color = colors[i % len(colors)]
        style = "-" if i < len(colors) else "--"
        axes.plot(steps, returns.mean(axis=0), style, color=color, marker="o", label=name)
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(title=f"{family}: tasks that training never saw", xlabel="inner steps")
    axes.set_ylabel("mean return")
    axes.set_xticks(steps)
    axes.legend(fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _with_interval(values: Float64[np.ndarray, "P"], digits: int) -> str:
    bounds = interval(tuple(values.tolist()))
    mean = f"{values.mean():.{digits}f}"
    return mean if bounds is None else f"{mean} ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"
