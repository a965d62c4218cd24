"""Episodes as immutable arrays.

Row t holds the observation o_t, the reward and the end flag that arrived with o_t, and the action
a_t chosen after o_t: the convention of `aime_agent.structs.Batch`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from aime_agent.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode of T observations; its arrays are read-only.

    Raises:
        DataError: lengths differ, or a reward or action is not finite.
    """

    frames: UInt8[np.ndarray, "T H W C"]
    actions: Float32[np.ndarray, "T A"]
    rewards: Float32[np.ndarray, " T"]
    terminated: Bool[np.ndarray, " T"]

    def __post_init__(self) -> None:
        for name in ("frames", "actions", "rewards", "terminated"):
            array = getattr(self, name)
            if len(array) != len(self.frames):
                raise DataError(
                    f"Episode.{name}: {len(self.frames)} rows required, found {len(array)}"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"Episode.{name}: finite numbers required, found NaN or infinity")
            view = array.view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """Returns the number of observations, one more than the number of steps."""
        return len(self.frames)

    @property
    def total_reward(self) -> float:
        """Undiscounted sum of the rewards."""
        return float(self.rewards.sum(dtype=np.float64))
