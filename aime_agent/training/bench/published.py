"""Published learning curves to draw beside ours: per seed, from a file that names its sources."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.errors import DataError

LABELS = {
    "dreamerv3": "DreamerV3",
    "drqv2": "DrQ-v2",
    "curl": "CURL",
    "sac": "SAC, pixels",
    "tdmpc2": "TD-MPC2",
}
"""Methods in the order of tables."""


class Published(NamedTuple):
    """Curves of other people's agents."""

    grid: tuple[int, ...]
    """Frames at which all curves have a value."""
    curves: dict[tuple[str, str], list[list[float]]]
    """(task, method) → one list of returns per seed, None where a run had no value yet."""
    sources: dict[str, str]

    def mean(self, task: str, method: str, frames: int) -> float | None:
        """Mean over seeds at these frames; None without a curve or a value there."""
        curve = self.mean_curve(task, method)
        return dict(curve).get(frames)

    def mean_curve(self, task: str, method: str) -> list[tuple[int, float]]:
        """(frames, mean over the seeds that have a value)."""
        seeds = self.curves.get((task, method), [])
        points = []
        for i, frames in enumerate(self.grid):
            found = [s[i] for s in seeds if i < len(s) and s[i] is not None]
            points += [(frames, statistics.fmean(found))] if found else []
        return points


def load_published(path: Path) -> Published:
    """Reads the file.

    Raises:
        DataError: it is missing, or not of this form.
    """
    try:
        text: dict[str, Any] = json.loads(path.read_text())
        curves: dict[tuple[str, str], list[list[float]]] = {}
        for curve in text["curves"]:
            curves.setdefault((curve["task"], curve["method"]), []).append(curve["returns"])
        return Published(tuple(text["grid"]), curves, text["sources"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: published curves required ({error})") from error


def methods(published: Published, tasks: Sequence[str]) -> list[str]:
    """Methods that have a curve of at least one of the tasks, in the order of `LABELS`."""
    return [m for m in LABELS if any((task, m) in published.curves for task in tasks)]
