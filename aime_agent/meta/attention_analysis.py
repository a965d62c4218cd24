"""Where a policy looked while it was meta-trained: numbers per task, and pictures of the maps."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aime_agent.errors import ConfigError, nearest
from aime_agent.symbolic.catalogue import ALIASES
from aime_agent.training.plotting import new_figure

_MOST_COLUMNS = 32


class AttentionRecord(NamedTuple):
    """One look at a task."""

    iteration: int
    entropy: float
    """Mean over observations, over log n."""
    max_attention: float
    argmax: int
    """The position that most observations look at most."""


class AttentionAnalyzer:
    """Keeps records of attention by task.

    Args:
        folder: Where heatmaps go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, list[AttentionRecord]] = {}

    def record_attention(self, task: str, iteration: int, stats: dict[str, np.ndarray]) -> None:
        """Takes what `get_attention_stats` returned."""
        record = AttentionRecord(
            iteration,
            float(stats["attention_entropy_normalized"].mean()),
            float(stats["attention_max"].mean()),
            int(np.bincount(stats["attention_argmax"]).argmax()),
        )
        self.records.setdefault(task, []).append(record)

    def analyze_attention_evolution(self, task: str) -> dict[str, list[float] | float]:
        """Returns how attention to a task changed.

        Args:
            task: Its name or alias.

        Returns:
            ``iteration``, ``entropy`` and ``max_attention`` per record, and ``focus_consistency``, the
            share of neighbouring records that look most at the same place.

        Raises:
            ConfigError: nothing was recorded of it; the message names what was.
        """
        name = task if task in self.records else ALIASES.get(task, task)
        if name not in self.records:
            known = nearest(task, self.records) if self.records else "Nothing was recorded yet."
            raise ConfigError(f"no attention was recorded for task {task!r}. {known}")
        records = self.records[name]
        same = [a.argmax == b.argmax for a, b in pairwise(records)]
        return {
            "iteration": [float(r.iteration) for r in records],
            "entropy": [r.entropy for r in records],
            "max_attention": [r.max_attention for r in records],
            "focus_consistency": float(np.mean(same)) if same else 1.0,
        }

    def save_attention_heatmap(
        self, weights: Float[np.ndarray, "L N"], task: str, iteration: int
    ) -> Path:
        """Draws one row per observation as ``attention_{task}_{iteration}.png``.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        shown = weights[:, :_MOST_COLUMNS]
        rows, columns = shown.shape
        figure = new_figure(figsize=(2.5 + 0.3 * columns, 2.0 + 0.3 * rows), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shown, vmin=0.0, vmax=1.0, cmap="cividis", aspect="auto")
        axes.set_title(f"{task}, iteration {iteration}: where the task's query looks")
        axes.set_xlabel("token (tree node, slot or part of the state)")
        axes.set_ylabel("step of the episode")
        figure.colorbar(image, label="attention, mean over heads and queries")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"attention_{task}_{iteration}.png"
        figure.savefig(path, dpi=110)
        return path

    def state(self) -> dict[str, list[list[float]]]:
        """Returns the records as JSON values."""
        return {task: [list(r) for r in records] for task, records in self.records.items()}

    def restore(self, state: dict[str, list[list[float]]]) -> None:
        """Takes back what `state` returned."""
        self.records.clear()
        for task, records in state.items():
            self.records[task] = [AttentionRecord(int(i), e, m, int(a)) for i, e, m, a in records]
