"""The layouts ``overlay``, ``futures`` and ``compare``: one frame from what happens at one moment.

overlay   camera        attention          time, return, scale of attention
          contours      slots              slots' legend
futures   what really happened and five dreamt futures of the same start
compare   two policies: cameras, return so far; where each looks, legends
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from aime_agent.training import legends
from aime_agent.training.legends import Curve
from aime_agent.training.panels import (
    DREAMED,
    FAINT,
    INK,
    PALETTE,
    Canvas,
    Colour,
    Picture,
    attention_panel,
    contours_panel,
    font,
    number,
    picture_panel,
    slots_panel,
    words_panel,
)
from aime_agent.training.views import Branches, View

FIRST, SECOND = PALETTE[0], PALETTE[1]
"""Colours of the two policies in ``compare``."""


class Show(NamedTuple):
    """What all frames of a film have in common."""

    task: str
    who: str
    """Who plays."""
    fps: float
    """Agent steps per second of the simulation."""
    first_step: int
    length: int
    """Frames that the film will have."""
    mark: int | None
    """Frame from which there is a dream; None without one."""
    hottest: float
    """Hot end of the scale of attention, in times the average."""
    scale: int


def overlay_frame(show: Show, view: View, rewards: Sequence[float]) -> Picture:
    """Draws one moment with attention and slots over it.

    Args:
        show: What the film shows.
        view: The moment.
        rewards: Of the film's steps so far, this one included.
    """
    canvas = _canvas(show, view)
    side, v = canvas.grid.panel, view
    slots = (v.slot_maps, v.slot_mass, v.slot_centers, side)
    colour = DREAMED if v.dreamt else INK
    title = "dreamt frame" if v.dreamt else "camera"
    canvas.place(0, title, picture_panel(v.picture, side), colour, v.dreamt)
    canvas.place(1, "attention: where it looks", _attention(show, v, side))
    canvas.place(2, "reward per step", _reward_panel(show, v, rewards, canvas))
    canvas.place(3, "slots: borders and centres", contours_panel(v.picture, *slots))
    canvas.place(4, "slots: whose is each place", slots_panel(v.picture, *slots))
    canvas.place(5, "", _explained(show, v, canvas))
    words = ("real frames", "dreamt: the model alone, no simulator")
    if show.mark is None:
        words = ("real frames, played", "")
    legends.timeline(canvas, v.step - show.first_step + 1, show.length, show.mark, words)
    return canvas.pixels()


def futures_frame(show: Show, moment: Branches) -> Picture:
    """Draws what really happened beside the dreamt futures, each with its return."""
    view, mark = moment.real, show.mark or 0
    canvas = _canvas(show, view)
    side, size = canvas.grid.panel, canvas.grid.label * 3 // 4
    now = view.step - show.first_step
    real = "really happened"
    if moment.pictures is not None:
        real = f"{real}: {moment.since:+.1f}"
    canvas.place(0, real, picture_panel(view.picture, side), INK, frame=True)
    for k in range(5):
        if k >= len(moment.totals):
            break
        if moment.pictures is None:
            panel = words_panel(f"watching\ndreams start in {mark - now}", side, size)
            canvas.place(k + 1, f"future {k + 1}", panel)
        else:
            title = f"dreamt future {k + 1}: {moment.totals[k]:+.1f}"
            canvas.place(k + 1, title, picture_panel(moment.pictures[k], side), DREAMED)
    words = ("watching", "dreams from here: same actions, no frames (+: return since then)")
    legends.timeline(canvas, now + 1, show.length, show.mark, words)
    return canvas.pixels()


def compare_frame(
    shows: tuple[Show, Show],
    views: tuple[View, View],
    totals: tuple[Sequence[float], Sequence[float]],
) -> Picture:
    """Draws two policies in the same episode side by side.

    Args:
        shows: What the film shows of each; the first one decides the size.
        views: The moment of each; of an ended episode the last one.
        totals: Returns so far of each, one value per step.
    """
    show = shows[0]
    now = max(v.step for v in views)
    canvas = Canvas.blank(max(views[0].picture.shape[:2]), show.scale)
    side, label = canvas.grid.panel, canvas.grid.label
    canvas.caption([*_time(show, now), ("the same start for both",) * 2 + (INK,)])
    for i, (s, v, colour) in enumerate(zip(shows, views, (FIRST, SECOND), strict=True)):
        name = "AB"[i]
        canvas.place(i, f"{name}: {s.who}", picture_panel(v.picture, side), colour, frame=True)
        canvas.place(3 + i, f"{name}: where the model looks", _attention(s, v, side), colour)
    image = legends.legend_panel(side, label * 5 // 8, None, None)
    draw = ImageDraw.Draw(image)
    low = min(0.0, *(min(t) for t in totals))
    high = max(1.0, *(max(t) for t in totals))
    curves = [
        Curve(t, 0, colour, side // 80) for t, colour in zip(totals, (FIRST, SECOND), strict=True)
    ]
    box = (side, side * 3 // 5)
    legends.plot(draw, box, label * 5 // 8, curves, (low, high), show.length - 1)
    for i, (v, colour) in enumerate(zip(views, (FIRST, SECOND), strict=True)):
        at, text = (0, side * (74 + 16 * i) // 100), f"{'AB'[i]}: {v.total:.1f}"
        draw.text(at, text, colour, font(label), anchor="lm")
    canvas.place(2, "return so far", image)
    canvas.place(5, "", _scale_panel(shows, canvas))
    ended = [f"{'AB'[i]}'s episode has ended" for i, v in enumerate(views) if v.step < now]
    words = (ended[0] if ended else "both play real frames", "")
    legends.timeline(canvas, now - show.first_step + 1, show.length, None, words)
    return canvas.pixels()


def _canvas(show: Show, view: View) -> Canvas:
    """Returns a frame with its caption."""
    canvas = Canvas.blank(max(view.picture.shape[:2]), show.scale)
    total = (f"return so far {view.total:.1f}", "return so far 0000.0", INK)
    canvas.caption([*_time(show, view.step), (show.who, show.who, FAINT), total])
    return canvas


def _time(show: Show, step: int) -> list[tuple[str, str, Colour]]:
    return [
        (show.task, show.task, FAINT),
        (f"step {step}", "step 0000", INK),
        (f"time {step / show.fps:.1f} s", "time 00.0 s", INK),
    ]


def _attention(show: Show, view: View, side: int) -> Image.Image:
    top = show.hottest / view.attention.shape[-1] ** 2
    return attention_panel(view.picture, view.attention, top, side)


def _reward_panel(show: Show, view: View, rewards: Sequence[float], canvas: Canvas) -> Image.Image:
    """Plots the rewards; the axis grows with them."""
    side, size = canvas.grid.panel, canvas.grid.label * 5 // 8
    image = legends.legend_panel(side, size, None, None)
    draw = ImageDraw.Draw(image)
    limits = (min(0.0, *rewards), max(0.1, *rewards)) if len(rewards) > 1 else (0.0, 0.1)
    real = rewards if show.mark is None else rewards[: show.mark]
    curves = [Curve(real, 0, INK, side // 80)]
    if show.mark is not None:
        curves.append(Curve(rewards[len(real) - 1 :], len(real) - 1, DREAMED, side // 80))
    legends.plot(draw, (side, side * 7 // 10), size, curves, limits, show.length - 1, show.mark)
    now = f"{'expected' if view.dreamt else 'reward'} now {number(view.reward)}"
    colour = DREAMED if view.dreamt else INK
    draw.text((0, side * 84 // 100), now, colour, font(size * 6 // 5), anchor="lm")
    return image


def _explained(show: Show, view: View, canvas: Canvas) -> Image.Image:
    """Returns the scale of attention and the slots' legend, from the top of the panel on."""
    side, size = canvas.grid.panel, canvas.grid.label * 3 // 4
    image = legends.legend_panel(side, size, None, None)
    draw = ImageDraw.Draw(image)
    below = legends.heat_bar(draw, side, size, size, show.hottest)
    legends.slot_legend(draw, side, below + size, size, np.asarray(view.slot_mass), 3)
    return image


def _scale_panel(shows: tuple[Show, Show], canvas: Canvas) -> Image.Image:
    """Returns the scales of both attentions; one where they agree."""
    side, size = canvas.grid.panel, canvas.grid.label * 3 // 4
    image = legends.legend_panel(side, size, None, None)
    draw = ImageDraw.Draw(image)
    alike = f"{shows[0].hottest:.3g}" == f"{shows[1].hottest:.3g}"
    top = size
    for name, show in zip("A" if alike else "AB", shows, strict=False):
        text = "A and B" if alike else name
        draw.text((0, top), f"{text}:", FAINT, font(size), anchor="lm")
        top = legends.heat_bar(draw, side, top + size * 3 // 2, size, show.hottest) + size
    return image
