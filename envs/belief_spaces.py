"""What a policy observes of a belief, alike in dreams and in filtered reality.

| kind | observation |
|---|---|
| ``belief`` | ``[h, z]`` clipped to ±10, `Box` |
| ``slots`` | `Dict`: ``belief``, and ``slots`` one after the other in one vector |
| ``objects`` | the same, and where each slot is: ``centers`` (x, y in [-1, 1]), ``mass`` (sums to 1) |

Policies never see slots alone: ``[h, z]`` comes first. A policy trained on one side reads the other
unchanged, since both ask this module for spaces and values.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import ConfigError, nearest
from aime_agent.world_model.belief_filter import LIMIT, BeliefFilter
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief

Observed = Literal["belief", "slots", "objects"]

BeliefObservations = np.ndarray | dict[str, np.ndarray]
"""Observations of N environments, float32, the leading dimension N."""


def check_observed(kind: str, config: WorldModelConfig) -> None:
    """Refuses an unknown kind of observation, and slots of a model without them.

    Raises:
        ConfigError: the message names the kinds.
    """
    if kind not in get_args(Observed):
        raise ConfigError(f"observation {kind!r} is unknown. {nearest(kind, get_args(Observed))}")
    if kind != "belief" and not config.use_slots:
        raise ConfigError(
            f"observation {kind!r} needs a world model with slots, found use_slots=False; "
            "use observation='belief'"
        )


def belief_space(config: WorldModelConfig, kind: str = "belief") -> spaces.Space[Any]:
    """Returns the observation space of one environment.

    Raises:
        ConfigError: the kind is unknown, or the model has no slots.

    >>> from aime_agent.world_model.presets import preset
    >>> belief_space(preset("tiny")).shape, belief_space(preset("tiny"), "slots")["slots"].shape
    ((76,), (72,))
    """
    check_observed(kind, config)
    belief = _box(LIMIT, config.feature_dim)
    if kind == "belief":
        return belief
    slots = config.num_slots
    parts: dict[str, spaces.Space[Any]] = {
        "belief": belief,
        "slots": _box(LIMIT, slots * config.slot_dim),
    }
    if kind == "objects":
        parts["centers"] = _box(1.0, 2 * slots)
        parts["mass"] = spaces.Box(0.0, 1.0, (slots,), np.float32)
    return spaces.Dict(parts)


def control_space(config: WorldModelConfig) -> spaces.Box:
    """Returns the action space of one environment: what the world model was trained with."""
    return _box(1.0, config.action_dim)


def observe_belief(
    stream: BeliefFilter, belief: Belief, kind: str = "belief"
) -> BeliefObservations:
    """Returns what the policies of N environments see of N beliefs.

    Args:
        stream: Whose model believes it.
        belief: Seen, or dreamt; for slots with ``attend=True``.
        kind: What of it to show. ``objects`` of a dream draws the masks of the slots, the others
            decode nothing.
    """
    features = stream.features(belief)
    if kind == "belief":
        return features
    parts = {"belief": features, "slots": stream.slots(belief)}
    if kind == "objects":
        centers, mass = slot_places(stream.model, belief)
        parts["centers"] = centers.clamp(-1.0, 1.0).flatten(1).float().cpu().numpy()
        parts["mass"] = mass.clamp(0.0, 1.0).float().cpu().numpy()
    return parts


@torch.no_grad()
def slot_places(
    model: AimeWorldModel, belief: Belief
) -> tuple[Float[Tensor, "N S 2"], Float[Tensor, "N S"]]:
    """Returns the slots' centres (x, y) in [-1, 1] and their masses, which sum to 1.

    Raises:
        ConfigError: a dreamt belief has no slots.
    """
    shares = belief.responsibilities
    if shares is None:
        if belief.slots is None:
            raise ConfigError("belief: slots are needed, found None; roll out with attend=True")
        side = model.config.attention_resolution
        _, masks = model.slot_decoder.render(belief.slots, side, side)
        shares = masks.flatten(-2)
    read = model.slots.read(shares)
    return read.centers, read.mass


def _box(limit: float, size: int) -> spaces.Box:
    return spaces.Box(-limit, limit, (size,), np.float32)
