"""Replay: uniform windows over everything stored.

A window is T consecutive rows of one environment. It may cross the end of an episode; ``is_first``
marks the row where the next one starts. With n_i = rows_i − T + 1 valid starts in stream i,

    u ~ Uniform{0 … Σ n_i − 1}

picks stream and start at once, so every valid window is equally likely and costs O(1).
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent.data.episode import Episode
from aime_agent.data.shard import Layout
from aime_agent.data.storage import ShardStore
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
        return sum(end - first for first, end in self._bounds())

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
        bounds = self._bounds()
        ends = np.cumsum([max(0, end - first - length + 1) for first, end in bounds])
        if ends[-1] == 0:
            raise DataError(
                f"replay: {length} rows in a stream required, found {self.num_rows} in all"
            )
        draws = rng.integers(ends[-1], size=batch_size)
        streams = np.searchsorted(ends, draws, side="right")
        frames = np.empty((batch_size, length, *self.store.layout.frame_shape), dtype=np.uint8)
        steps = np.empty((batch_size, length), dtype=self._step_dtype)
        for b, (i, draw) in enumerate(zip(streams.tolist(), draws.tolist(), strict=True)):
            start = bounds[i][1] - length - (int(ends[i]) - 1 - draw)
            self.store.read(i, start, frames[b], steps[b])
        return _to_batch(frames, steps)

    def frames(self, count: int, rng: np.random.Generator) -> UInt8[Tensor, "N C H W"]:
        """Returns at most ``count`` different stored frames, uniformly drawn."""
        total = self.num_rows
        picks = np.sort(rng.permutation(total)[:count])
        bounds = self._bounds()
        ends = np.cumsum([end - first for first, end in bounds])
        frames = np.empty((len(picks), *self.store.layout.frame_shape), dtype=np.uint8)
        step = np.empty(1, dtype=self._step_dtype)
        for n, pick in enumerate(picks.tolist()):
            i = int(np.searchsorted(ends, pick, side="right"))
            self.store.read(i, bounds[i][1] - (int(ends[i]) - pick), frames[n : n + 1], step)
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def episodes(self, env: int) -> Iterator[Episode]:
        """Yields the stored episodes of an environment that another one has followed."""
        first, _ = self.store.bounds(env)
        starts = first + np.flatnonzero(self.store.read_steps(env)["is_first"])
        for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            frames = np.empty((high - low, *self.store.layout.frame_shape), dtype=np.uint8)
            rows = np.empty(high - low, dtype=self._step_dtype)
            self.store.read(env, low, frames, rows)
            yield Episode(
                frames=frames,
                actions=rows["action"].copy(),
                rewards=rows["reward"].copy(),
                terminated=rows["terminated"].copy(),
            )

    def _bounds(self) -> list[tuple[int, int]]:
        return [self.store.bounds(i) for i in range(self.store.num_streams)]


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


def _to_batch(frames: UInt8[np.ndarray, "B T H W C"], steps: np.ndarray) -> Batch:
    rewards: Float32[np.ndarray, "B T"] = np.ascontiguousarray(steps["reward"])
    flags: list[Bool[np.ndarray, "B T"]] = [
        np.ascontiguousarray(steps[name]) for name in ("terminated", "is_first")
    ]
    return Batch(
        observations=torch.from_numpy(frames).permute(0, 1, 4, 2, 3),
        actions=torch.from_numpy(np.ascontiguousarray(steps["action"])),
        rewards=torch.from_numpy(rewards),
        terminated=torch.from_numpy(flags[0]),
        is_first=torch.from_numpy(flags[1]),
    )
