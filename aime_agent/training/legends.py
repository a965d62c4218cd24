"""What explains a film's pictures: curves, the scale of attention, the slots' colours, a time line."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from aime_agent.training.panels import (
    BACKGROUND,
    DREAMED,
    FAINT,
    INK,
    PREDICTED,
    Canvas,
    Colour,
    colour_of,
    font,
    heat,
    number,
)


class Curve(NamedTuple):
    """Values over steps."""

    values: Sequence[float] | Float[np.ndarray, " n"]
    first: int
    """Step of the first value."""
    colour: Colour
    thick: int = 1


def legend_panel(
    side: int, size: int, hottest: float | None, shares: Float[np.ndarray, " S"] | None
) -> Image.Image:
    """Returns a panel with the scale of attention and the slots' colours in its lower part.

    Args:
        side: Of the panel.
        size: Of the letters.
        hottest: The hot end of the scale, in times the average; None for no scale.
        shares: The share of the picture that each slot claims; None or empty for no list.
    """
    image = Image.new("RGB", (side, side), BACKGROUND)
    draw = ImageDraw.Draw(image)
    top = side * 14 // 25
    if hottest is not None:
        top = heat_bar(draw, side, top, size, hottest)
    if shares is not None and len(shares):
        slot_legend(draw, side, top, size, shares)
    return image


def key(
    draw: ImageDraw.ImageDraw,
    side: int,
    middle: int,
    size: int,
    words: Sequence[tuple[str, Colour]],
) -> None:
    """Writes what each colour of a plot means side by side, as wide as a panel."""
    while size > 8 and sum(draw.textlength(w, font(size)) for w, _ in words) > side * 0.94:
        size -= 1
    spare = side - sum(draw.textlength(word, font(size)) for word, _ in words)
    x = 0.0
    for word, colour in words:
        draw.text((x, middle), word, colour, font(size), anchor="lm")
        x += draw.textlength(word, font(size)) + spare / max(1, len(words) - 1)


def heat_bar(draw: ImageDraw.ImageDraw, side: int, top: int, size: int, hottest: float) -> int:
    """Draws the colour scale of attention with its numbers; returns where it ends."""
    thick = max(6, side // 28)
    draw.text((0, top), "attention, times the average", INK, font(size), anchor="lm")
    for x, colour in enumerate(heat(np.linspace(0, 1, side))):
        r, g, b = (int(c) for c in colour)
        draw.line((x, top + size, x, top + size + thick), (r, g, b))
    below = top + size * 7 // 4 + thick
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        text = f"{share * hottest:.3g}"
        at = (int(share * (side - 1)), below)
        draw.text(at, text, FAINT, font(size * 4 // 5), anchor=anchor)
    return below + size


def slot_legend(
    draw: ImageDraw.ImageDraw,
    side: int,
    top: int,
    size: int,
    shares: Float[np.ndarray, " S"],
    columns: int = 4,
) -> None:
    """Lists slots with colour, number and the share of the picture each claims."""
    draw.text((0, top + size // 2), "slots, share of the picture", INK, font(size), anchor="lm")
    chip = size * 3 // 4
    for s, share in enumerate(shares / max(float(shares.sum()), 1e-12)):
        row, column = divmod(s, columns)
        x, y = column * side // columns, top + size * 2 + row * size * 5 // 4
        draw.rectangle((x, y - chip // 2, x + chip, y + chip // 2), colour_of(s))
        text = f"{s + 1}: {share:.0%}"
        draw.text((x + chip * 4 // 3, y), text, INK, font(size * 3 // 4), anchor="lm")


def plot(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int],
    size: int,
    curves: Sequence[Curve],
    limits: tuple[float, float],
    last: int,
    mark: int | None = None,
) -> None:
    """Plots curves over steps 0..last into the upper left of a picture.

    Args:
        draw: Of the picture.
        box: Width and height of the plot.
        size: Of the letters.
        curves: What to plot.
        limits: Lowest and highest value of the axis.
        last: The last step of the axis.
        mark: A step to mark by a line.
    """
    (width, height), (low, high), left = box, limits, size * 5 // 2
    high = max(high, low + 1e-9)

    def at(row: float, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low)
        return left + row / max(1, last) * (width - left - 4), height * (0.96 - 0.8 * share)

    draw.line([at(0, low), at(last, low)], FAINT)
    draw.line([at(0, low), at(0, high)], FAINT)
    if mark is not None:
        draw.line([at(mark, low), at(mark, high)], DREAMED)
    for value in (low, high):
        text = number(value) if high < 10 else f"{value:.0f}"
        draw.text((left - 6, at(0, value)[1]), text, FAINT, font(size * 4 // 5), "rm")
    for values, first, colour, thick in curves:
        points = [at(first + i, float(v)) for i, v in enumerate(values)]
        if len(points) > 1:
            draw.line(points, colour, width=max(1, thick), joint="curve")


def timeline(canvas: Canvas, now: int, length: int, mark: int | None, words: Sequence[str]) -> None:
    """Draws what was watched, what is dreamt from ``mark`` on, and where we are.

    Args:
        canvas: The frame.
        now: Steps shown so far.
        length: Steps of the film.
        mark: Where the dream begins; None where nothing is dreamt.
        words: What stands on the part before the mark, and on the one after it.
    """
    (left, right), (top, bottom), label = canvas.grid.span, canvas.grid.bar, canvas.grid.label
    draw, gap = canvas.draw, canvas.grid.gap

    def at(step: int) -> int:
        return left + (right - left) * min(step, length) // max(1, length)

    border, size = length if mark is None else mark, label * 5 // 8
    middle, line = (top + bottom) // 2 - label // 12, bottom - label // 6
    draw.rectangle((left, top, at(border), bottom), (52, 56, 66))
    draw.rectangle((left, line, at(min(now, border)), bottom), PREDICTED)
    draw.text((left + size // 2, middle), words[0], INK, font(size), anchor="lm")
    if mark is None:
        return
    draw.rectangle((at(mark), top, right, bottom), (92, 44, 30))
    if now > mark:
        draw.rectangle((at(mark), line, at(now), bottom), DREAMED)
    draw.line((at(mark), top - gap // 3, at(mark), bottom), DREAMED, width=max(2, gap // 5))
    draw.text((at(mark) + size // 2, middle), words[1], INK, font(size), anchor="lm")
