"""Pictures of a comparison: dream strips, and curves of quality over updates and time.

A strip has the real frames above and what was dreamt below, at the same moments; the first column is
the last frame that the model saw. Curves need the extra ``plots`` (matplotlib).
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from aime_agent.training.bench.tables import LONG, Result, by_arm, curve_score, mask_name
from aime_agent.training.panels import BACKGROUND, DREAMED, INK, font
from aime_agent.training.plotting import new_figure

_GAP = 4


class Strip(NamedTuple):
    """A row of a picture; an entry that is None stays blank."""

    label: str
    frames: Sequence[UInt8[np.ndarray, "H W C"] | None]
    dreamt: bool


def compose(columns: Sequence[str], strips: Sequence[Strip], scale: int = 2) -> Image.Image:
    """Draws strips under each other, with a label per row and per column."""
    shown = [frame for strip in strips for frame in strip.frames if frame is not None]
    side = scale * shown[0].shape[0]
    size = max(11, side // 9)
    margin = 2 * _GAP + max(int(font(size).getlength(s.label)) for s in strips)
    width = margin + len(columns) * (side + _GAP)
    canvas = Image.new("RGB", (width, 2 * size + len(strips) * (side + _GAP)), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, text in enumerate(columns):
        x = margin + i * (side + _GAP) + side // 2
        draw.text((x, size), text, INK, font(size), anchor="mm")
    for j, strip in enumerate(strips):
        y = 2 * size + j * (side + _GAP)
        colour = DREAMED if strip.dreamt else INK
        draw.text((_GAP, y + side // 2), strip.label, colour, font(size), anchor="lm")
        for i, frame in enumerate(strip.frames):
            if frame is not None:
                picture = Image.fromarray(frame).resize((side, side), Image.Resampling.NEAREST)
                canvas.paste(picture, (margin + i * (side + _GAP), y))
    return canvas


def dream_strip(files: Mapping[str, Path], window: int = 0) -> Image.Image:
    """Real frames above the dreams of several arms.

    Args:
        files: Arm → ``strips.npz`` of one of its jobs; all of the same task.
        window: Which of the stored windows.
    """
    strips: list[Strip] = []
    horizons: list[int] = []
    for arm, path in files.items():
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        if not strips:
            horizons = found["horizons"].tolist()
            strips.append(Strip("real", list(found["real"][window]), False))
        strips += [
            Strip(f"{arm}, {name}", [None, *found[name][window]], True)
            for name in ("likeliest", "sampled")
        ]
    return compose(["seen", *(f"+{h}" for h in horizons)], strips)


def num_windows(files: Mapping[str, Path]) -> int:
    """How many windows all of the files hold."""
    counts = []
    for path in files.values():
        with np.load(path, allow_pickle=False) as stored:
            counts.append(len(stored["real"]))
    return min(counts)


def plot_curves(results: Sequence[Result], task: str, path: Path) -> None:
    """Saves masked PSNR at horizon 15 over updates, and over processor time.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    arms = by_arm(results, task)
    figure = new_figure(figsize=(13, 5))
    axes = figure.subplots(1, 2, sharey=True)
    for i, (arm, found) in enumerate(arms.items()):
        style: dict[str, Any] = {"color": f"C{i % 10}", "linestyle": "-" if i < 10 else "--"}
        score = [_over_seeds(found, k) for k in range(len(found[0]["curve"]))]
        for axis, key, factor in zip(axes, ("updates", "cpu_seconds"), (1, 1 / 60), strict=True):
            x = [
                factor * statistics.fmean(r["curve"][k][key] for r in found)
                for k in range(len(score))
            ]
            axis.plot(x, score, label=arm, marker=".", **style)
    one = next(iter(arms.values()))[0]
    baselines = {"copy_last": ":", "mean_frame": "-."}
    for method, line in baselines.items():
        level = one["final"]["pictures"][method][f"{mask_name(one)}_psnr"][LONG]
        for axis in axes:
            axis.axhline(level, color="0.5", linestyle=line, label=method.replace("_", " "))
    axes[0].set(
        xlabel="updates", ylabel=f"{mask_name(one).upper()}-PSNR {LONG} steps ahead, dB", title=task
    )
    axes[1].set(xlabel="processor minutes", title="the same runs over time")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, bbox_inches="tight")


def _over_seeds(found: Sequence[Result], point: int) -> float:
    return statistics.fmean(curve_score(r, LONG)(r["curve"][point]) for r in found)
