"""The plane of `aime_agent.envs.navigation` as a picture: where goals lie, the goal, the path."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from aime_agent.symbolic.picture import BACKGROUND, FAINT, INK

_GOAL, _POINT = (255, 170, 30), (0, 158, 115)
_MARGIN = 1.1


def draw_plane(
    path: Float[np.ndarray, "steps 2"],
    goal: Float[np.ndarray, "2"],
    goal_range: float,
    side: int = 256,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws the path from its first to its last position, y upwards.

    The picture shows [-1, 1]², or more once the path leaves it.
    """
    extent = _MARGIN * max(1.0, float(np.abs(path).max()), float(np.abs(goal).max()))

    def pixel(point: Float[np.ndarray, "2"]) -> tuple[float, float]:
        x, y = (point * (1, -1) / extent + 1) / 2 * (side - 1)
        return float(x), float(y)

    image = Image.new("RGB", (side, side), BACKGROUND)
    draw = ImageDraw.Draw(image)
    corners = np.array([[-goal_range, goal_range], [goal_range, -goal_range]])
    draw.rectangle([pixel(corner) for corner in corners], outline=FAINT)
    if len(path) > 1:
        draw.line([pixel(point) for point in path], fill=INK, width=2)
    radius = max(2, side // 50)
    for point, colour in ((goal, _GOAL), (path[-1], _POINT)):
        draw.circle(pixel(point), radius, fill=colour)
    return np.array(image)
