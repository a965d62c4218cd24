"""Pictures of dreams, decoded when somebody looks."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from aime_agent.attention.visualize import draw_centers
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief

_GLOW = (1.0, 0.65, 0.1)
"""Colour of attention: orange, which the colour-blind tell from the blue of the tasks."""
_STRENGTH = 0.6


@torch.no_grad()
def pictures(
    model: AimeWorldModel, belief: Belief, overlay: bool = False
) -> tuple[UInt8[np.ndarray, "H W C"], ...]:
    """Returns the decoded frame of every row.

    Args:
        model: The world model.
        belief: N beliefs that were dreamt (or seen) with attention.
        overlay: Show attention as a glow, and the slots' centres.
    """
    frames = model.decode(belief)
    if overlay and model.config.use_attention:
        view = model.attend(belief)
        frames = glow(frames, view.map)
        if model.config.use_slots:
            frames = draw_centers(frames, view.centers)
    whole = (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return tuple(whole.cpu().numpy())


def glow(
    frames: Float[Tensor, "N C H W"], maps: Float[Tensor, "N R R"]
) -> Float[Tensor, "N C H W"]:
    """Mixes orange into frames where a map is high; its highest cell gets the most."""
    strength = maps / maps.amax((-2, -1), keepdim=True).clamp_min(1e-12)
    size = (frames.shape[-2], frames.shape[-1])
    alpha = _STRENGTH * torch.nn.functional.interpolate(strength[:, None], size, mode="bilinear")
    colour = frames.new_tensor(_GLOW[: frames.shape[1]])[:, None, None]
    return frames * (1 - alpha) + colour * alpha
