"""The five pillars joined.

``model``        `AimeWorldModel` (= `DPGMMVariationalRecurrentAutoencoder`): start here
``config``       `WorldModelConfig`; ``presets`` its four sets of values
``state``        `WorldState`, `Belief` and what else crosses a step
``inference``    beliefs from observations; ``belief_filter`` the same for streams of frames
``sequence``     passes over whole sequences; ``losses`` their terms; ``outputs`` what comes back
``generation``   the prior of z; ``imagination``  dreams and predictions; ``reading`` what a belief says
``seeds``        the seed documents' keywords
``pretrained``   saving and loading
"""

from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.model import AimeWorldModel, DPGMMVariationalRecurrentAutoencoder
from aime_agent.world_model.outputs import WorldModelOutput
from aime_agent.world_model.presets import PRESETS, preset
from aime_agent.world_model.state import (
    AttentionView,
    Belief,
    Prediction,
    Trajectory,
    WorldState,
)

__all__ = [
    "PRESETS",
    "AimeWorldModel",
    "AttentionView",
    "Belief",
    "BeliefFilter",
    "DPGMMVariationalRecurrentAutoencoder",
    "Prediction",
    "Trajectory",
    "WorldModelConfig",
    "WorldModelOutput",
    "WorldState",
    "preset",
]
