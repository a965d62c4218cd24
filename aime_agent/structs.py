"""Data that crosses a layer, as flat NamedTuples whose leaves are batch-first tensors.

Time convention: row t holds the observation o_t, the reward and the end flag that arrived *with*
o_t, and the action a_t that was chosen *after* o_t.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, UInt8
from torch import Tensor


class Batch(NamedTuple):
    """Sequences sampled from the replay, ``[B, T, ...]``."""

    observations: UInt8[Tensor, "B T C H W"]
    """Frames o_t, channels first (a permuted view of the stored ``[H, W, C]``)."""
    actions: Float[Tensor, "B T A"]
    """a_t in [-1, 1], chosen after o_t; zeros in the last row of an episode."""
    rewards: Float[Tensor, "B T"]
    """r_t that arrived with o_t; 0 in the first row of an episode."""
    terminated: Bool[Tensor, "B T"]
    """True where o_t is a true end of the task (not a time limit)."""
    is_first: Bool[Tensor, "B T"]
    """True where o_t is the first observation of an episode."""
