"""Panels of films: arrays in, pictures out; nothing here knows a model or an environment.

Every layout is a grid of 3 × 2 square cells P pixels wide with a title each, a caption above and,
where there is one, a time line below (`Grid`). Colours are Okabe and Ito's (2008), which people with
colour-blindness can tell apart.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from aime_agent.attention import visualize
from aime_agent.attention.visualize import PALETTE as SLOT_COLOURS

PALETTE = tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in SLOT_COLOURS)
BACKGROUND, INK, FAINT = (22, 24, 29), (236, 238, 242), (156, 162, 172)
EMPTY = (36, 39, 46)
REAL, PREDICTED, DREAMED = INK, (86, 180, 233), (255, 107, 61)
_HEAT = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)],
    np.float64,
)

Picture = UInt8[np.ndarray, "H W 3"]
Colour = tuple[int, int, int]


class Grid(NamedTuple):
    """Where things lie on a frame, in pixels."""

    panel: int
    gap: int
    label: int
    width: int
    height: int

    @classmethod
    def of(cls, image_side: int, scale: int) -> "Grid":
        """Returns the layout for square panels of ``scale`` times the image's longer side."""
        panel = scale * image_side
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

    @property
    def span(self) -> tuple[int, int]:
        """Left and right edge of what the panels cover."""
        return self.corner(0)[0], self.corner(2)[0] + self.panel

    @property
    def bar(self) -> tuple[int, int]:
        """Top and bottom of the time line."""
        top = self.corner(3)[1] + self.panel + self.gap * 2 // 3
        return top, top + self.label


class Canvas(NamedTuple):
    """A frame in the making."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    grid: Grid

    @classmethod
    def blank(cls, image_side: int, scale: int) -> "Canvas":
        """Returns an empty frame for images of this side."""
        grid = Grid.of(image_side, scale)
        image = Image.new("RGB", (grid.width, grid.height), BACKGROUND)
        return cls(image, ImageDraw.Draw(image), grid)

    def place(
        self, i: int, title: str, picture: Image.Image, colour: Colour = INK, frame: bool = False
    ) -> None:
        """Pastes a picture into cell ``i`` under its title, framed in the title's colour if wanted."""
        x, y = self.grid.corner(i)
        fit_text(self.draw, (x, y - self.grid.label), title, self.grid, colour)
        self.image.paste(picture, (x, y))
        if frame:
            edge, side = max(2, self.grid.gap // 4), self.grid.panel
            box = (x - edge, y - edge, x + side + edge - 1, y + side + edge - 1)
            self.draw.rectangle(box, outline=colour, width=edge)

    def caption(self, entries: Sequence[tuple[str, str, Colour]]) -> None:
        """Writes entries side by side in fixed columns, so that nothing jumps between frames.

        Args:
            entries: Text, the widest text that this entry will ever be, and colour.
        """
        left, right = self.grid.span
        size = self.grid.label * 4 // 5

        def widths(size: int) -> list[float]:
            return [self.draw.textlength(widest, font(size)) for _, widest, _ in entries]

        while size > 8 and sum(widths(size)) + (len(entries) - 1) * size > right - left:
            size -= 1
        spare = right - left - sum(widths(size))
        x = float(left)
        for (text, _, colour), width in zip(entries, widths(size), strict=True):
            at = (x, self.grid.label * 3 // 4)
            self.draw.text(at, text, colour, font(size), anchor="lm")
            x += width + spare / max(1, len(entries) - 1)

    def pixels(self) -> Picture:
        """Returns the frame."""
        return np.asarray(self.image)


def picture_panel(image: Picture, side: int) -> Image.Image:
    """Enlarges a picture without smoothing: its pixels are what the model sees."""
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def words_panel(text: str, side: int, size: int) -> Image.Image:
    """Returns an empty panel with words in its middle."""
    image = Image.new("RGB", (side, side), EMPTY)
    at, middle = (side // 2, side // 2), {"anchor": "mm", "align": "center"}
    ImageDraw.Draw(image).text(at, text, FAINT, font(size), **middle)
    return image


def attention_panel(
    image: Picture, attention: Float[np.ndarray, "R R"], top: float, side: int
) -> Image.Image:
    """Lays an attention map over the darkened grey frame; ``top`` is the scale's hot end."""
    strength = np.clip(attention / top, 0, 1)
    smooth = _upsample(strength, side)[..., None]
    share = 0.15 + 0.75 * np.sqrt(smooth)
    return _image((1 - share) * 0.7 * _grey(image, side) + share * heat(smooth[..., 0]))


def attention_top(attention: Float[np.ndarray, "T R R"]) -> float:
    """Returns the map value at the hot end of the colour scale: the 99.8th percentile.

    It is at least three times the average, so that even attention does not look hot.
    """
    even = 1.0 / attention.shape[-1] ** 2
    return max(float(np.quantile(attention, 0.998)), 3 * even)


def slots_panel(
    image: Picture,
    maps: Float[np.ndarray, "S R R"],
    mass: Float[np.ndarray, " S"],
    centers: Float[np.ndarray, "S 2"],
    side: int,
) -> Image.Image:
    """Colours each place by the slots that claim it, and numbers the slots' centres."""
    shares = slot_shares(maps, mass)
    colours = np.array([colour_of(s) for s in range(len(shares))], np.float64)
    mix = sum(
        _upsample(share, side)[..., None] * colour
        for share, colour in zip(shares, colours, strict=True)
    )
    panel = _image(0.45 * _grey(image, side) + 0.55 * mix)
    _number_centers(panel, centers, mass, maps.shape[-1])
    return panel


def contours_panel(
    image: Picture,
    maps: Float[np.ndarray, "S R R"],
    mass: Float[np.ndarray, " S"],
    centers: Float[np.ndarray, "S 2"],
    side: int,
) -> Image.Image:
    """Draws the borders between slots over the frame, each side in its slot's colour, and centres."""
    shares = torch.from_numpy(slot_shares(maps, mass))[None]
    labels = visualize.dominant_slot(shares, side, side)
    edge = visualize.contours(labels)[:, None].float()
    reach = max(1, side // 120)
    near = F.max_pool2d(edge, 2 * reach + 1, 1, reach)[0, 0].bool().numpy()
    halo = F.max_pool2d(edge, 4 * reach + 1, 1, 2 * reach)[0, 0].bool().numpy()
    picture = np.array(picture_panel(image, side))
    picture[halo] = picture[halo] // 3
    palette = np.array([colour_of(s) for s in range(len(maps))], np.uint8)
    picture[near] = palette[labels[0].numpy()[near]]
    panel = Image.fromarray(picture)
    _number_centers(panel, centers, mass, maps.shape[-1])
    return panel


def _number_centers(
    panel: Image.Image,
    centers: Float[np.ndarray, "S 2"],
    mass: Float[np.ndarray, " S"],
    cells: int,
) -> None:
    """Draws a numbered disc at each centre, the slot with the largest share on top."""
    draw, side = ImageDraw.Draw(panel), panel.width
    radius = side // 24
    for s in map(int, np.argsort(mass, kind="stable")):
        cx, cy = (((c + 1) / 2 * (cells - 1) + 0.5) / cells * side for c in centers[s])
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        draw.ellipse(box, fill=colour_of(s), outline=(255, 255, 255), width=max(2, side // 150))
        draw.text((cx, cy), str(s + 1), (0, 0, 0), font(radius * 3 // 2), anchor="mm")


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


def colour_of(slot: int) -> Colour:
    """Returns the colour of a slot; colours repeat after eight."""
    return PALETTE[slot % len(PALETTE)]


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """Returns Pillow's built-in font at a size in pixels."""
    return ImageFont.load_default(size=max(8, size))


def fit_text(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, grid: Grid, colour: Colour = INK
) -> None:
    """Writes one line over a panel, smaller if it would be wider than the panel."""
    size = grid.label * 3 // 4
    while size > 8 and draw.textlength(text, font(size)) > grid.panel:
        size -= 1
    draw.text((at[0], at[1] + grid.label // 2), text, colour, font(size), anchor="lm")


def number(value: Any) -> str:
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
