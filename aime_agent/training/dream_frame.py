"""The layout ``dream``: real frame, reconstruction, open-loop dream, attention, slots, rewards.

    real        reconstruction   dream
    attention   slots            rewards and legends

Everything here is pure: `compose_frame` reads a `Recording` and draws one time step of it,
`contact_sheet` some of them under each other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from aime_agent.training import legends
from aime_agent.training.legends import Curve
from aime_agent.training.panels import (
    BACKGROUND,
    DREAMED,
    EMPTY,
    FAINT,
    INK,
    PREDICTED,
    REAL,
    Canvas,
    Picture,
    attention_panel,
    attention_top,
    font,
    number,
    picture_panel,
    slots_panel,
    words_panel,
)


class Recording(NamedTuple):
    """A stretch of one episode with what the model made of it; T steps, the dream starts at M."""

    task: str
    first_step: int
    """Agent step of row 0 inside its episode."""
    mark: int
    """M: rows before it were shown to the dreaming model, rows from it on were not."""
    observations: UInt8[np.ndarray, "T H W 3"]
    reconstructions: UInt8[np.ndarray, "T H W 3"]
    dream: UInt8[np.ndarray, "D H W 3"]
    """Open-loop prediction of rows M..T-1 (D = T - M), from frames before M and the actions."""
    attention: Float[np.ndarray, "T R R"]
    slot_maps: Float[np.ndarray, "T S R R"]
    """Each slot's map, with mass one over space."""
    slot_centers: Float[np.ndarray, "T S 2"]
    """(x, y) in [-1, 1], from the centre of the first cell to that of the last."""
    slot_mass: Float[np.ndarray, "T S"]
    rewards: Float[np.ndarray, " T"]
    predicted_rewards: Float[np.ndarray, " T"]
    dreamed_rewards: Float[np.ndarray, " D"]
    fps: float = 30.0
    """Agent steps per second of the simulation."""
    earlier: float = 0.0
    """Return of the steps before row 0."""


def compose_frame(recording: Recording, t: int, scale: int = 5) -> Picture:
    """Draws row ``t``: six labelled panels, a caption and a time line.

    Args:
        recording: What `aime_agent.training.video.observe` returned.
        t: Row, from 0.
        scale: Panel pixels per image pixel (4 to 8 is readable); sides become multiples of 16.
    """
    r, canvas = recording, Canvas.blank(max(recording.observations.shape[1:3]), scale)
    side, dreaming = canvas.grid.panel, t >= recording.mark
    step = r.first_step + t
    total = r.earlier + float(r.rewards[: t + 1].sum())
    canvas.caption(
        [
            (r.task, r.task, FAINT),
            (f"step {step}", "step 0000", INK),
            (f"time {step / r.fps:.1f} s", "time 00.0 s", INK),
            (f"return so far {total:.1f}", "return so far 0000.0", INK),
        ]
    )
    canvas.place(0, "real", picture_panel(r.observations[t], side))
    canvas.place(1, "reconstruction", picture_panel(r.reconstructions[t], side))
    dream_title = f"dream, {t - r.mark + 1} steps unseen" if dreaming else "dream"
    canvas.place(2, dream_title, _dream_panel(r, t, canvas), DREAMED if dreaming else INK, dreaming)
    canvas.place(3, "attention: where it looks", _attention(r, t, side))
    canvas.place(4, "slots: what it tells apart", _slots(r, t, side))
    canvas.place(5, "reward per step", _legend(r, t, canvas))
    words = ("watching", "dream from here: actions only")
    legends.timeline(canvas, t + 1, len(r.rewards), r.mark, words)
    return canvas.pixels()


def contact_sheet(
    recording: Recording, path: str | Path, rows: Sequence[int] | None = None, scale: int = 3
) -> Path:
    """Saves a PNG with one column per chosen row of the recording and one line per panel.

    Args:
        recording: What `aime_agent.training.video.observe` returned.
        path: The ``.png`` file.
        rows: Rows to show; None picks two before the mark and five from it on.
        scale: Panel pixels per image pixel.
    """
    r, path = recording, Path(path)
    length = len(r.observations)
    if rows is None:
        later = np.linspace(r.mark, length - 1, 5).round().astype(int)
        rows = sorted({r.mark // 2, r.mark - 1, *(int(t) for t in later)})
    side = scale * max(r.observations.shape[1:3])
    label, margin, gap = max(16, side // 9), side * 3 // 4, max(2, side // 32)
    names = ("real", "recon-\nstruction", "dream", "attention", "slots")
    size = (margin + len(rows) * (side + gap), 3 * label + len(names) * (side + gap))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for j, name in enumerate(names):
        y = 3 * label + j * (side + gap) + side // 2
        draw.text((label // 2, y), name, INK, font(label * 3 // 4), anchor="lm")
    for i, t in enumerate(rows):
        x = margin + i * (side + gap)
        colour = DREAMED if t >= r.mark else INK
        text = f"step {r.first_step + t}"
        draw.text((x, 2 * label), text, colour, font(label * 3 // 4), anchor="lm")
        for j, panel in enumerate(_column(r, t, side)):
            sheet.paste(panel, (x, 3 * label + j * (side + gap)))
    shown = sum(t < r.mark for t in rows)
    x = margin + shown * (side + gap) - gap
    draw.rectangle((x, 0, x + gap - 1, size[1]), DREAMED)
    if shown < len(rows):
        text = "dream from here: actions only"
        draw.text((x + 2 * gap, label), text, DREAMED, font(label * 3 // 4), anchor="lm")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _column(r: Recording, t: int, side: int) -> list[Image.Image]:
    blank = Image.new("RGB", (side, side), EMPTY)
    return [
        picture_panel(r.observations[t], side),
        picture_panel(r.reconstructions[t], side),
        picture_panel(r.dream[t - r.mark], side) if t >= r.mark else blank,
        _attention(r, t, side),
        _slots(r, t, side),
    ]


def _attention(r: Recording, t: int, side: int) -> Image.Image:
    return attention_panel(r.observations[t], r.attention[t], attention_top(r.attention), side)


def _slots(r: Recording, t: int, side: int) -> Image.Image:
    return slots_panel(r.observations[t], r.slot_maps[t], r.slot_mass[t], r.slot_centers[t], side)


def _dream_panel(r: Recording, t: int, canvas: Canvas) -> Image.Image:
    """Shows the open-loop prediction; before the mark, a count-down."""
    side, size = canvas.grid.panel, canvas.grid.label * 3 // 4
    if t >= r.mark:
        return picture_panel(r.dream[t - r.mark], side)
    return words_panel(f"watching\ndream starts in {r.mark - t}", side, size)


def _legend(r: Recording, t: int, canvas: Canvas) -> Image.Image:
    """Draws the reward curves up to now, the scale of the heat map and the slots' colours."""
    side, size = canvas.grid.panel, canvas.grid.label * 5 // 8
    hottest = attention_top(r.attention) * r.attention.shape[-1] ** 2
    image = legends.legend_panel(side, size, hottest, r.slot_mass[t])
    draw = ImageDraw.Draw(image)
    series = (r.rewards, r.predicted_rewards, r.dreamed_rewards)
    low = min(0.0, *(float(x.min()) for x in series))
    high = max(0.1, *(float(x.max()) for x in series))
    dreamed = r.dreamed_rewards[: max(0, t + 1 - r.mark)]
    curves = (
        Curve(r.rewards[: t + 1], 0, REAL, side // 80),
        Curve(r.predicted_rewards[: t + 1], 0, PREDICTED, side // 160),
        Curve(dreamed, r.mark, DREAMED, side // 160),
    )
    last = len(r.rewards) - 1
    legends.plot(draw, (side, side * 2 // 5), size, curves, (low, high), last, r.mark)
    words = [
        (f"real {number(r.rewards[t])}", REAL),
        (f"predicted {number(r.predicted_rewards[t])}", PREDICTED),
        (f"dreamt {number(dreamed[-1]) if len(dreamed) else '-'}", DREAMED),
    ]
    legends.key(draw, side, side * 11 // 25, size, words)
    return image
