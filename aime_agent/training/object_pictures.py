"""A picture of objects that a person can judge: frame, truth, slot masks, attention.

One column per frame, one line per panel. A colour of the truth is a body; a colour of the masks is a slot, and
keeps its meaning over the columns. Attention is laid over the darkened frame, hottest where the map
has six times its average or more.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from aime_agent.training.panels import BACKGROUND, INK, colour_of, font, heat, picture_panel
from aime_agent.training.segmented import SegmentedEpisodes

Picture = UInt8[np.ndarray, "H W 3"]

_NAMES = ("frame", "bodies\n(truth)", "slot\nmasks", "attention")
_BRIGHT = 6.0
"""Times the average at which the heat scale ends."""


def object_sheet(
    data: SegmentedEpisodes,
    masks: Int[np.ndarray, "E T H W"],
    attention: Float[np.ndarray, "E T R R"],
    path: Path,
    columns: Sequence[tuple[int, int]] | None = None,
    scale: int = 3,
) -> Path:
    """Saves the picture as PNG.

    Args:
        data: Episodes with truth.
        masks: Slot of each pixel.
        attention: Maps of sum 1.
        path: The ``.png`` file.
        columns: (episode, frame) of each column; None picks six over the first two episodes.
        scale: Panel pixels per image pixel.
    """
    count, length = data.frames.shape[:2]
    if columns is None:
        when = np.linspace(0, length - 1, 3).round().astype(int)
        columns = [(e, int(t)) for e in range(min(2, count)) for t in when]
    side = scale * data.frames.shape[2]
    label, margin, gap = max(16, side // 9), side * 3 // 5, max(2, side // 32)
    size = (margin + len(columns) * (side + gap), 2 * label + len(_NAMES) * (side + gap))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw, text = ImageDraw.Draw(sheet), font(label * 3 // 4)
    for j, name in enumerate(_NAMES):
        draw.text((label // 2, 2 * label + j * (side + gap) + side // 2), name, INK, text, "lm")
    for i, (e, t) in enumerate(columns):
        x = margin + i * (side + gap)
        draw.text((x, label), f"episode {e + 1}, step {t}", INK, text, "lm")
        panels = (
            data.frames[e, t],
            painted(data.bodies[e, t].astype(np.int64)),
            painted(masks[e, t], first=0),
            heated(data.frames[e, t], attention[e, t]),
        )
        for j, panel in enumerate(panels):
            sheet.paste(picture_panel(panel, side), (x, 2 * label + j * (side + gap)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)
    return path


def painted(labels: Int[np.ndarray, "H W"], first: int = 1) -> Picture:
    """Returns labels as colours; those below ``first`` are black."""
    colours = [(0, 0, 0)] * first + [colour_of(k) for k in range(int(labels.max()) + 1)]
    return np.array(colours, np.uint8)[labels]


def heated(frame: Picture, attention: Float[np.ndarray, "R R"]) -> Picture:
    """Returns a darkened grey frame with the map over it, cell by cell."""
    grey = frame.mean(-1, keepdims=True) * 0.4
    strength = np.clip(attention * attention.size / _BRIGHT, 0, 1)
    rows, columns = (
        np.arange(n) * r // n for n, r in zip(frame.shape[:2], attention.shape, strict=True)
    )
    cells = strength[rows][:, columns]
    share = 0.8 * np.sqrt(cells)[..., None]
    return ((1 - share) * grey + share * heat(cells)).clip(0, 255).astype(np.uint8)
