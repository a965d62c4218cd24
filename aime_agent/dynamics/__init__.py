"""PILLAR 3: the recurrence, reward and continuation.

``vrnn_core``  `VRNNCore`, the LSTM over (z, predicted context, action)
``heads``      `RewardHead`, `ContinuationHead`, which read [h, z]

`LSTMLayer` lives in ``aime_agent.layers.lstm``.
"""

from aime_agent.dynamics.heads import ContinuationHead, RewardHead
from aime_agent.dynamics.vrnn_core import CoreState, VRNNCore, VRNNCoreConfig
from aime_agent.layers.lstm import LSTMLayer

__all__ = [
    "ContinuationHead",
    "CoreState",
    "LSTMLayer",
    "RewardHead",
    "VRNNCore",
    "VRNNCoreConfig",
]
