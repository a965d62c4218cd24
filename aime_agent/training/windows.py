"""Windows of held-out episodes, on which open-loop prediction is judged.

Row t holds o_t, the reward that came with it, and a_t chosen after it. Windows are spread evenly over
each episode and stay inside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from aime_agent.data.episode import Episode
from aime_agent.errors import DataError
from aime_agent.functional.image_metrics import moving_mask

Foreground = Bool[np.ndarray, "T H W"]
"""Where the agent is, true by the simulator's own segmentation."""


class Windows(NamedTuple):
    """N windows of L rows."""

    frames: UInt8[Tensor, "N L C H W"]
    actions: Float[Tensor, "N L A"]
    rewards: Float[Tensor, "N L"]
    mask: Bool[Tensor, "N L H W"]
    """The foreground, or what differs from the background."""
    mask_name: str
    """``fg`` or ``moving``: what the mask is, and the first part of the metric's name."""

    def part(self, rows: slice) -> "Windows":
        """Some of the windows."""
        return self._replace(
            frames=self.frames[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            mask=self.mask[rows],
        )


def cut_windows(
    episodes: Sequence[Episode],
    length: int,
    per_episode: int,
    foregrounds: Sequence[Foreground] | None = None,
) -> Windows:
    """Cuts ``per_episode`` windows out of each episode, evenly spaced.

    Args:
        episodes: Held-out episodes.
        length: L, rows per window.
        per_episode: Windows per episode.
        foregrounds: True foreground of every episode. Without it the mask is where a frame
            differs from the median frame of all windows.

    Raises:
        DataError: an episode is shorter than a window, or there is none.
    """
    if not episodes:
        raise DataError("held-out episodes: at least 1 required, found 0")
    picks: list[tuple[int, int]] = []
    for e, episode in enumerate(episodes):
        if len(episode) < length:
            raise DataError(
                f"held-out episode {e}: at least {length} rows required (context and the longest "
                f"horizon), found {len(episode)}"
            )
        starts = np.linspace(0, len(episode) - length, per_episode).round().astype(int)
        picks += [(e, int(s)) for s in starts]

    def gather(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack([arrays[e][s : s + length] for e, s in picks]))

    frames = gather([x.frames for x in episodes]).permute(0, 1, 4, 2, 3)
    if foregrounds is None:
        median = frames.flatten(0, 1).median(0).values
        mask = moving_mask(frames / 255.0, median / 255.0)
    else:
        mask = gather([np.asarray(f, dtype=bool) for f in foregrounds])
    return Windows(
        frames,
        gather([x.actions for x in episodes]),
        gather([x.rewards for x in episodes]),
        mask,
        "moving" if foregrounds is None else "fg",
    )
