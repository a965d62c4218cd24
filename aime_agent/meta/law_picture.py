"""A found law beside its data: predicted against true values, and the law's tree."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw, ImageFont

from aime_agent.errors import ConfigError
from aime_agent.meta.discover import Discovery
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.picture import BACKGROUND, FAINT, INK, draw_tree
from aime_agent.symbolic.tree import Expression

INSIDE, OUTSIDE = (86, 180, 233), (230, 159, 0)
_SIDE, _MARGIN = 480, 64
_ROWS = 100


class _Points(NamedTuple):
    """Rows of one region."""

    target: Float64[np.ndarray, "N"]
    predicted: Float64[np.ndarray, "N"]


def save_picture(found: Discovery, path: Path) -> Path:
    """Saves scatter and tree side by side as PNG.

    Blue are the rows of the search; amber are rows beyond its ranges, where the true law is known.

    Raises:
        ConfigError: nothing was found.
    """
    best = found.outcome.best
    if best is None:
        raise ConfigError("there is no law to draw: the search was interrupted at once")
    law = best.expression
    sets = {"in the data": _points(law, found.samples.inputs, found.samples.target)}
    if found.task.law is not None:
        rng = np.random.default_rng(2)
        far = found.task.generate_data(_ROWS, rng=rng, region="outside")
        sets["beyond its ranges"] = _points(law, far.inputs, far.target)
    scatter = _scatter(sets, f"{found.task.target}: found against true")
    title = f"{found.task.name}: {found.task.target} = {found.simplified or found.law}"
    tree = Image.fromarray(draw_tree(law, found.task.names, caption=title, size=(800, _SIDE)))
    sheet = Image.new("RGB", (scatter.width + tree.width, _SIDE), BACKGROUND)
    sheet.paste(scatter, (0, 0))
    sheet.paste(tree, (scatter.width, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(64).save(path, optimize=True)
    return path


def _points(
    law: Expression, inputs: Float64[np.ndarray, "V N"], target: Float64[np.ndarray, "N"]
) -> _Points:
    predicted = evaluate(law.tokens, inputs, law.constants)
    fine = np.isfinite(predicted)
    return _Points(target[fine], predicted[fine])


def _scatter(sets: dict[str, _Points], title: str) -> Image.Image:
    """Draws predicted over true values; a perfect law lies on the diagonal."""
    image = Image.new("RGB", (_SIDE, _SIDE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    truth = np.concatenate([points.target for points in sets.values()])
    low, high = float(truth.min()), float(truth.max())
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    left, right, top, bottom = _MARGIN, _SIDE - 16, 48, _SIDE - _MARGIN

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low) / (high - low), (np.clip(y, low, high) - low) / (high - low)
        return left + across * (right - left), bottom - up * (bottom - top)

    draw.rectangle((left, top, right, bottom), outline=FAINT)
    draw.line([at(low, low), at(high, high)], FAINT)
    for (name, points), colour in reversed(
        list(zip(sets.items(), (INSIDE, OUTSIDE), strict=False))
    ):
        for x, y in zip(points.target, points.predicted, strict=True):
            cx, cy = at(float(x), float(y))
            draw.ellipse((cx - 3, cy - 3, cx + 3, cy + 3), colour)
        row = list(sets).index(name)
        draw.text((left + 10, top + 14 + 20 * row), name, colour, _font(15), anchor="lm")
    draw.text((left, 24), title, INK, _font(18), anchor="lm")
    for value, anchor in ((low, "lt"), (high, "rt")):
        draw.text((at(value, low)[0], bottom + 8), f"{value:.3g}", FAINT, _font(14), anchor=anchor)
        draw.text((left - 6, at(low, value)[1]), f"{value:.3g}", FAINT, _font(14), anchor="rm")
    draw.text(((left + right) / 2, bottom + 36), "true value", FAINT, _font(15), anchor="mm")
    return image


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)
