"""Replay: uniform windows over everything stored.

A window is T consecutive rows of one environment. It may cross the end of an episode; ``is_first``
marks the row where the next one starts. Every valid window is equally likely
(`aime_agent.data.windows`).
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from aime_agent.data.episode import Episode
from aime_agent.data.shard import Layout
from aime_agent.data.splits import list_episodes, read_episode
from aime_agent.data.storage import ShardStore
from aime_agent.data.windows import Stretch, sample_frames, sample_windows
from aime_agent.errors import ConfigError, DataError
from aime_agent.structs import Batch

_SHARD_ROWS = 4096
_SHARD_BYTES = 1 << 26
_LEAST_ROWS = 64


class ReplayBuffer:
    """Adds rows as they arrive and samples `Batch` windows from a `ShardStore`."""

    def __init__(self, store: ShardStore) -> None:
        self.store = store
        self._step_dtype = store.layout.step_dtype

    @property
    def num_rows(self) -> int:
        """How many observations can be sampled."""
        return sum(s.end - s.first for s in self._stretches())

    def add(
        self,
        env: int,
        frame: UInt8[np.ndarray, "H W C"],
        action: Float32[np.ndarray, " A"],
        reward: float,
        terminated: bool,
        is_first: bool,
    ) -> None:
        """Appends row t of an environment: o_t, what arrived with it, and a_t chosen after it.

        Raises:
            DataError: the action or the reward is not finite, or a shape differs.
        """
        if not (np.isfinite(action).all() and np.isfinite(reward)):
            raise DataError(
                f"environment {env}: action and reward must be finite, found {action}, {reward}"
            )
        if action.shape != (self.store.layout.action_dim,):
            raise DataError(
                f"environment {env}: action size {self.store.layout.action_dim} required, "
                f"found {action.shape}"
            )
        step = np.array((action, reward, terminated, is_first), dtype=self._step_dtype)
        self.store.append(env, frame, step)

    def add_episode(self, env: int, episode: Episode) -> None:
        """Appends a whole episode."""
        for t in range(len(episode)):
            self.add(
                env,
                episode.frames[t],
                episode.actions[t],
                float(episode.rewards[t]),
                bool(episode.terminated[t]),
                t == 0,
            )

    def sample(self, batch_size: int, length: int, rng: np.random.Generator) -> Batch:
        """Draws ``batch_size`` windows of ``length`` rows with one call of ``rng``.

        Raises:
            DataError: no environment has ``length`` rows yet.
        """
        return sample_windows(self.store, self._stretches(), batch_size, length, rng)

    def frames(self, count: int, rng: np.random.Generator) -> UInt8[Tensor, "N C H W"]:
        """Returns at most ``count`` different stored frames, uniformly drawn."""
        return sample_frames(self.store, self._stretches(), count, rng)

    def episodes(self, env: int) -> Iterator[Episode]:
        """Yields the complete episodes of an environment (`aime_agent.data.splits.list_episodes`)."""
        spans = [s for s in list_episodes(self.store) if s.env == env]
        yield from (read_episode(self.store, span) for span in spans)

    def _stretches(self) -> list[Stretch]:
        """Everything stored: one stretch per environment."""
        return [Stretch(i, *self.store.bounds(i)) for i in range(self.store.num_streams)]


def plan_layout(
    frame_shape: tuple[int, int, int], action_dim: int, num_streams: int, max_bytes: int | None
) -> Layout:
    """Chooses the rows per shard: large for few files, small enough for the byte cap to act.

    Raises:
        ConfigError: the cap is too small for any sensible shard.
    """
    row = sum(Layout(frame_shape, action_dim, 1).row_bytes)
    rows = min(_SHARD_ROWS, max(_LEAST_ROWS, _SHARD_BYTES // row))
    if max_bytes is not None:
        rows = min(rows, max_bytes // (4 * num_streams * row))
    if rows < _LEAST_ROWS:
        least = _LEAST_ROWS * 4 * num_streams * row
        raise ConfigError(f"replay_bytes must be at least {least} here, found {max_bytes}")
    return Layout(frame_shape, action_dim, rows)
