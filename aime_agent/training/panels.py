"""Pictures of what a model saw, believed and dreamed: arrays in, one RGB frame out.

A frame of the video is a 2 × 3 grid of panels P pixels wide:

    real        reconstruction   dream
    attention   slots            rewards and legends

Everything here is pure: `compose_frame` reads a `Recording` and draws one time step of it. Colours
are Okabe and Ito's (2008), which people with colour-blindness can tell apart.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from aime_agent.attention.visualize import PALETTE as SLOT_COLOURS

PALETTE = tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in SLOT_COLOURS)
BACKGROUND, INK, FAINT = (22, 24, 29), (236, 238, 242), (140, 146, 156)
REAL, PREDICTED, DREAMED = INK, (86, 180, 233), (255, 107, 61)
_COLUMNS = (0, 27, 41, 60, 81, 100)
_HEAT = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)],
    np.float64,
)

Picture = UInt8[np.ndarray, "H W 3"]


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


def compose_frame(recording: Recording, t: int, scale: int = 5) -> Picture:
    """Draws row ``t``: six labelled panels, a caption and a time line.

    Args:
        recording: What `aime_agent.training.video.observe` returned.
        t: Row, from 0.
        scale: Panel pixels per image pixel (4 to 8 is readable); sides become multiples of 16.
    """
    r, grid = recording, Grid.of(recording, scale)
    canvas = Image.new("RGB", (grid.width, grid.height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _caption(draw, r, t, grid)
    dreaming = t >= r.mark
    dream_title = f"dream, {t - r.mark + 1} steps unseen" if dreaming else "dream"
    pictures = [
        ("real", picture_panel(r.observations[t], grid.panel)),
        ("reconstruction", picture_panel(r.reconstructions[t], grid.panel)),
        (dream_title, _dream_panel(r, t, grid)),
        ("attention", attention_panel(r, t, grid.panel)),
        ("slots", slots_panel(r, t, grid.panel)),
        ("reward", _legend_panel(r, t, grid)),
    ]
    for i, (title, picture) in enumerate(pictures):
        x, y = grid.corner(i)
        marked = i == 2 and dreaming
        fit_text(draw, (x, y - grid.label), title, grid, DREAMED if marked else INK)
        canvas.paste(picture, (x, y))
        if marked:
            edge = max(2, grid.gap // 4)
            box = (x - edge, y - edge, x + grid.panel + edge - 1, y + grid.panel + edge - 1)
            draw.rectangle(box, outline=DREAMED, width=edge)
    _timeline(draw, r, t, grid)
    return np.asarray(canvas)


class Grid(NamedTuple):
    """Where things lie on a frame, in pixels."""

    panel: int
    gap: int
    label: int
    width: int
    height: int

    @classmethod
    def of(cls, recording: Recording, scale: int) -> "Grid":
        """Returns the layout for square panels of ``scale`` times the image's longer side."""
        panel = scale * max(recording.observations.shape[1:3])
        gap, label = panel // 18, max(16, panel // 10)
        width = 3 * panel + 4 * gap
        height = 2 * (panel + label + gap) + 3 * label
        return cls(panel, gap, label, -(-width // 16) * 16, -(-height // 16) * 16)

    def corner(self, i: int) -> tuple[int, int]:
        """Returns the upper left pixel of panel ``i``, counted row by row."""
        row, column = divmod(i, 3)
        left = (self.width - 3 * self.panel - 2 * self.gap) // 2
        top = self.label * 5 // 2
        return (
            left + column * (self.panel + self.gap),
            top + row * (self.panel + self.label + self.gap),
        )


def picture_panel(image: Picture, side: int) -> Image.Image:
    """Enlarges a picture without smoothing: its pixels are what the model sees."""
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def attention_panel(recording: Recording, t: int, side: int) -> Image.Image:
    """Lays the attention map over the darkened grey frame, on one scale for the whole recording."""
    strength = np.clip(recording.attention[t] / attention_top(recording), 0, 1)
    smooth = _upsample(strength, side)[..., None]
    grey = _grey(recording.observations[t], side)
    colour = heat(smooth[..., 0])
    share = 0.15 + 0.75 * np.sqrt(smooth)
    return _image((1 - share) * 0.7 * grey + share * colour)


def attention_top(recording: Recording) -> float:
    """Returns the map value at the hot end of the colour scale: the 99.8th percentile.

    It is at least three times the average, so that even attention does not look hot.
    """
    even = 1.0 / recording.attention.shape[-1] ** 2
    return max(float(np.quantile(recording.attention, 0.998)), 3 * even)


def slots_panel(recording: Recording, t: int, side: int) -> Image.Image:
    """Colours each place by the slots that claim it, and numbers the slots' centres."""
    shares = slot_shares(recording.slot_maps[t], recording.slot_mass[t])
    colours = np.array([colour_of(s) for s in range(len(shares))], np.float64)
    mix = sum(
        _upsample(share, side)[..., None] * colour
        for share, colour in zip(shares, colours, strict=True)
    )
    grey = _grey(recording.observations[t], side)
    image = _image(0.45 * grey + 0.55 * mix)
    draw = ImageDraw.Draw(image)
    cells, radius = recording.slot_maps.shape[-1], side // 24
    for s, (x, y) in enumerate(recording.slot_centers[t]):
        cx, cy = (((c + 1) / 2 * (cells - 1) + 0.5) / cells * side for c in (x, y))
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        draw.ellipse(box, fill=colour_of(s), outline=(255, 255, 255), width=max(2, side // 150))
        draw.text((cx, cy), str(s + 1), (0, 0, 0), font(radius * 3 // 2), anchor="mm")
    return image


def slot_shares(
    maps: Float[np.ndarray, "S R R"], mass: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S R R"]:
    """Returns how much of each place every slot claims; sums to one over slots."""
    claims = maps * mass[:, None, None]
    return claims / np.maximum(claims.sum(0, keepdims=True), 1e-12)


def heat(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """Maps [0, 1] to colours from black over red to pale yellow, lighter is more."""
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, stops, _HEAT[:, c]) for c in range(3)], -1)


def colour_of(slot: int) -> tuple[int, int, int]:
    """Returns the colour of a slot; colours repeat after eight."""
    return PALETTE[slot % len(PALETTE)]


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """Returns Pillow's built-in font at a size in pixels."""
    return ImageFont.load_default(size=max(8, size))


def fit_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    grid: Grid,
    colour: tuple[int, int, int] = INK,
) -> None:
    """Writes one line over a panel, smaller if it would be wider than the panel."""
    size = grid.label * 3 // 4
    while size > 8 and draw.textlength(text, font(size)) > grid.panel:
        size -= 1
    draw.text((at[0], at[1] + grid.label // 2), text, colour, font(size), anchor="lm")


def _caption(draw: ImageDraw.ImageDraw, r: Recording, t: int, grid: Grid) -> None:
    """Writes task, step and rewards into fixed columns, so that nothing jumps between frames."""
    dreamed = _number(r.dreamed_rewards[t - r.mark]) if t >= r.mark else "-"
    entries = [
        (f"{r.task}", FAINT),
        (f"step {r.first_step + t}", INK),
        (f"reward {_number(r.rewards[t])}", REAL),
        (f"predicted {_number(r.predicted_rewards[t])}", PREDICTED),
        (f"dreamed {dreamed}", DREAMED),
    ]
    left, right = grid.corner(0)[0], grid.corner(2)[0] + grid.panel
    edges = [left + (right - left) * share // 100 for share in _COLUMNS]
    size = grid.label * 4 // 5
    widest = (r.task, "step 0000", "reward -00.00", "predicted -00.00", "dreamed -00.00")
    for text, start, end in zip(widest, edges, edges[1:], strict=False):
        while size > 8 and draw.textlength(text, font(size)) > 0.97 * (end - start):
            size -= 1
    for (text, colour), start in zip(entries, edges, strict=False):
        draw.text((start, grid.label * 3 // 4), text, colour, font(size), anchor="lm")


def _dream_panel(r: Recording, t: int, grid: Grid) -> Image.Image:
    """Shows the open-loop prediction; before the mark, a count-down."""
    if t >= r.mark:
        return picture_panel(r.dream[t - r.mark], grid.panel)
    image = Image.new("RGB", (grid.panel, grid.panel), (36, 39, 46))
    text = f"watching\ndream starts in {r.mark - t}"
    centre, middle = (grid.panel // 2, grid.panel // 2), {"anchor": "mm", "align": "center"}
    ImageDraw.Draw(image).text(centre, text, FAINT, font(grid.label * 3 // 4), **middle)
    return image


def _legend_panel(r: Recording, t: int, grid: Grid) -> Image.Image:
    """Draws the reward curves up to now, the scale of the heat map and the slots' colours."""
    side, size = grid.panel, grid.label * 5 // 8
    image = Image.new("RGB", (side, side), BACKGROUND)
    draw = ImageDraw.Draw(image)
    _reward_plot(draw, r, t, (side, side * 2 // 5), size)
    top, thick = side * 12 // 25, max(6, side // 28)
    draw.text((0, top), "attention, times the average", INK, font(size), anchor="lm")
    for x, colour in enumerate(heat(np.linspace(0, 1, side))):
        draw.line((x, top + size, x, top + size + thick), tuple(int(c) for c in colour))
    below = top + size * 7 // 4 + thick
    hottest = attention_top(r) * r.attention.shape[-1] ** 2
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        text = f"{share * hottest:.3g}"
        draw.text((int(share * (side - 1)), below), text, FAINT, font(size * 4 // 5), anchor=anchor)
    _slot_legend(draw, r, t, (below + size, side), size)
    return image


def _slot_legend(
    draw: ImageDraw.ImageDraw, r: Recording, t: int, box: tuple[int, int], size: int
) -> None:
    """Lists slots with colour, number and the share of the picture each claims."""
    top, side = box
    shares = r.slot_mass[t] / max(float(r.slot_mass[t].sum()), 1e-12)
    draw.text((0, top + size // 2), "slots, share of the picture", INK, font(size), anchor="lm")
    chip = size * 3 // 4
    for s, share in enumerate(shares):
        row, column = divmod(s, 4)
        x, y = column * side // 4, top + size * 2 + row * size * 5 // 4
        draw.rectangle((x, y - chip // 2, x + chip, y + chip // 2), colour_of(s))
        text = f"{s + 1}: {share:.0%}"
        draw.text((x + chip * 4 // 3, y), text, INK, font(size * 3 // 4), anchor="lm")


def _reward_plot(
    draw: ImageDraw.ImageDraw, r: Recording, t: int, box: tuple[int, int], size: int
) -> None:
    """Plots rewards up to row ``t``; the axis spans the whole recording."""
    width, height = box
    series = (r.rewards, r.predicted_rewards, r.dreamed_rewards)
    low = min(0.0, *(float(x.min()) for x in series))
    high = max(0.1, *(float(x.max()) for x in series))
    left, last = size * 5 // 2, max(1, len(r.rewards) - 1)

    def at(row: int, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low)
        return left + row / last * (width - left - 4), height * (0.96 - 0.8 * share)

    draw.line([at(0, low), at(last, low)], FAINT)
    draw.line([at(0, low), at(0, high)], FAINT)
    draw.line([at(r.mark, low), at(r.mark, high)], DREAMED)
    for value in (low, high):
        draw.text((left - 6, at(0, value)[1]), _number(value), FAINT, font(size * 4 // 5), "rm")
    curves = (
        (r.rewards[: t + 1], 0, REAL, width // 80),
        (r.predicted_rewards[: t + 1], 0, PREDICTED, width // 160),
        (r.dreamed_rewards[: max(0, t + 1 - r.mark)], r.mark, DREAMED, width // 160),
    )
    for values, first, colour, thick in curves:
        points = [at(first + i, float(v)) for i, v in enumerate(values)]
        if len(points) > 1:
            draw.line(points, colour, width=max(1, thick), joint="curve")


def _timeline(draw: ImageDraw.ImageDraw, r: Recording, t: int, grid: Grid) -> None:
    """Draws the time line: what was watched, what is dreamed, where we are."""
    left, right = grid.corner(0)[0], grid.corner(2)[0] + grid.panel
    top = grid.corner(3)[1] + grid.panel + grid.gap * 2 // 3
    bottom = top + grid.label
    length = len(r.rewards)
    mark, now = (left + (right - left) * k // length for k in (r.mark, t + 1))
    draw.rectangle((left, top, mark, bottom), (52, 56, 66))
    draw.rectangle((mark, top, right, bottom), (92, 44, 30))
    draw.rectangle((left, bottom - grid.label // 6, min(now, mark), bottom), PREDICTED)
    if now > mark:
        draw.rectangle((mark, bottom - grid.label // 6, now, bottom), DREAMED)
    size, middle = grid.label * 5 // 8, (top + bottom) // 2 - grid.label // 12
    draw.text((left + size // 2, middle), "watching", INK, font(size), anchor="lm")
    draw.line((mark, top - grid.gap // 3, mark, bottom), DREAMED, width=max(2, grid.gap // 5))
    text = "dream from here: actions only"
    draw.text((mark + size // 2, middle), text, INK, font(size), anchor="lm")


def _number(value: Any) -> str:
    """Formats with two digits and without a negative zero."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def _grey(image: Picture, side: int) -> Float[np.ndarray, "P P 3"]:
    grey = Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.NEAREST)
    return np.repeat(np.asarray(grey, np.float64)[..., None], 3, -1)


def _upsample(values: Float[np.ndarray, "R R"], side: int) -> Float[np.ndarray, "P P"]:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float64)


def _image(values: Float[np.ndarray, "P P 3"]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
