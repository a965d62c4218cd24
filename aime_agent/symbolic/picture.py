"""A law drawn as a tree: operators above their children, open slots dashed, attention as heat."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from aime_agent.errors import ShapeError
from aime_agent.symbolic.tree import Expression, depths, infix, missing, parents
from aime_agent.symbolic.vocabulary import ARITY, CONST, VOCABULARY, Kind, is_variable

Picture = UInt8[np.ndarray, "H W 3"]

BACKGROUND, INK, FAINT = (22, 24, 29), (236, 238, 242), (110, 116, 126)
_COLOURS = {
    Kind.VARIABLE: (0, 158, 115),
    Kind.CONSTANT: (204, 121, 167),
    Kind.NUMBER: (150, 110, 30),
    Kind.OPERATOR: (0, 114, 178),
}
"""Okabe and Ito's, which people with colour-blindness can tell apart."""
COLD, HOT = np.array((52, 56, 66)), np.array((255, 170, 30))
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "neg": "-", "square": "^2", "cube": "^3",
          "inverse": "1/"}  # fmt: skip
"""Pillow's own font has few signs."""


class _Node(NamedTuple):
    """Where a node stands, in units of leaves and levels."""

    x: float
    depth: int
    parent: int
    token: int | None
    """None for a child that is missing."""


def draw_tree(
    expression: Expression,
    names: Sequence[str] | None = None,
    attention: Float[np.ndarray, "_"] | None = None,
    caption: str = "",
    size: tuple[int, int] = (640, 480),
) -> Picture:
    """Draws a complete or unfinished law.

    Args:
        expression: The tokens; constants that are not there show as c.
        names: Of the variables.
        attention: One weight per node, none negative: the heaviest is the brightest. None draws
            nodes in the colour of their kind.
        caption: A line at the top.
        size: Width and height in pixels.

    Raises:
        ShapeError: attention has another length than the expression.
    """
    count = len(expression.tokens)
    if attention is not None and len(attention) != count:
        raise ShapeError(
            f"attention must have {count} weights, one per node, found {len(attention)}"
        )
    width, height = size
    nodes = _layout(expression.tokens)
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)
    line = max(12, height // 26)
    draw.text((line, line), caption, INK, _font(line), anchor="lm")
    text = infix(expression, names, open_mark="?")
    _fitted(draw, (line, height - line), text, width - 2 * line, line)
    levels = 1 + max(node.depth for node in nodes)
    leaves = 1 + max(node.x for node in nodes)
    top, bottom = 3 * line, height - 3 * line
    radius = int(min(0.42 * width / leaves, 0.36 * (bottom - top) / max(1, levels - 1), 1.6 * line))
    radius = max(6, radius)

    def place(node: _Node) -> tuple[float, float]:
        x = (node.x + 0.5) / leaves * (width - 2 * line) + line
        y = top + radius + node.depth * (bottom - top - 2 * radius) / max(1, levels - 1)
        return x, y

    for node in nodes:
        if node.parent >= 0:
            draw.line([place(nodes[node.parent]), place(node)], FAINT, max(1, line // 8))
    constants = iter(expression.constants)
    for i, node in enumerate(nodes):
        weight = (
            None
            if attention is None or i >= count
            else float(attention[i] / max(attention.max(), 1e-12))
        )
        label = label_of(node.token, names, constants)
        _disc(draw, place(node), radius, node.token, label, weight)
    return np.asarray(image)


def _layout(tokens: Sequence[int]) -> list[_Node]:
    """Places placed nodes in their order, then the missing children."""
    lacking = missing(tokens)
    above, levels = parents(tokens), depths(tokens)
    children: list[list[int]] = [[] for _ in tokens]
    for i, parent in enumerate(above):
        if parent >= 0:
            children[parent].append(i)
    open_children = _open_parents(tokens)[:lacking]
    for k, parent in enumerate(open_children):
        if parent >= 0:
            children[parent].append(len(tokens) + k)
    centre: dict[int, float] = {}
    leaves = 0

    def visit(i: int) -> float:
        nonlocal leaves
        below = children[i] if i < len(tokens) else []
        if below:
            centre[i] = float(np.mean([visit(child) for child in below]))
        else:
            centre[i] = float(leaves)
            leaves += 1
        return centre[i]

    visit(0)
    placed = [_Node(centre[i], levels[i], above[i], t) for i, t in enumerate(tokens)]
    waiting = [
        _Node(centre[len(tokens) + k], levels[p] + 1 if p >= 0 else 0, p, None)
        for k, p in enumerate(open_children)
    ]
    return placed + waiting


def _open_parents(tokens: Sequence[int]) -> list[int]:
    """Returns the parents of the missing children, the next one to be filled first."""
    waiting = [-1]
    for position, token in enumerate(tokens):
        waiting.pop()
        waiting += [position] * ARITY[token]
    return waiting[::-1]


def label_of(
    token: int | None, names: Sequence[str] | None, constants: Iterator[float] | None = None
) -> str:
    """Returns what a node is called: an operator's sign, a variable's name, a constant's value or c."""
    if token is None:
        return "?"
    if token == CONST:
        value = None if constants is None else next(constants, None)
        return "c" if value is None else f"{value:.3g}"
    if is_variable(token) and names is not None and token < len(names):
        return names[token]
    name = VOCABULARY[token].name
    return _SIGNS.get(name, name)


def _disc(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    radius: int,
    token: int | None,
    label: str,
    weight: float | None,
) -> None:
    """Draws one node."""
    box = (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
    if token is None:
        draw.ellipse(box, BACKGROUND)
        for start in range(0, 360, 30):
            draw.arc(box, start, start + 16, FAINT, max(1, radius // 10))
        ink = FAINT
    elif weight is None:
        draw.ellipse(box, _COLOURS[VOCABULARY[token].kind])
        ink = INK
    else:
        heat = tuple(int(c) for c in COLD + weight * (HOT - COLD))
        draw.ellipse(box, heat, _COLOURS[VOCABULARY[token].kind], max(2, radius // 8))
        ink = BACKGROUND if weight > 0.55 else INK
    size = radius
    while size > 7 and draw.textlength(label, _font(size)) > 1.75 * radius:
        size -= 1
    draw.text(at, label, ink, _font(size), anchor="mm")


def _fitted(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int
) -> None:
    """Writes a line, smaller where it is long, cut where it is very long."""
    while size > 9 and draw.textlength(text, _font(size)) > width:
        size -= 1
    while text and draw.textlength(text, _font(size)) > width:
        text = text[:-4] + "..."
    draw.text(at, text, INK, _font(size), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)
