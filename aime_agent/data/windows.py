"""Uniform windows and frames out of stretches of stored rows.

A stretch is a run of successive rows of one stream. With n_i = rows_i − T + 1 valid starts in
stretch i,

    u ~ Uniform{0 … Σ n_i − 1}

picks stretch and start at once, so every valid window is equally likely and costs O(log stretches).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent.data.storage import ShardStore
from aime_agent.errors import DataError
from aime_agent.structs import Batch


class Stretch(NamedTuple):
    """Rows ``first … end − 1`` of a stream."""

    stream: int
    first: int
    end: int


def sample_windows(
    store: ShardStore,
    stretches: Sequence[Stretch],
    batch_size: int,
    length: int,
    rng: np.random.Generator,
) -> Batch:
    """Draws ``batch_size`` windows of ``length`` rows with one call of ``rng``.

    Raises:
        DataError: no stretch has ``length`` rows.
    """
    ends = np.cumsum([max(0, s.end - s.first - length + 1) for s in stretches])
    if len(ends) == 0 or ends[-1] == 0:
        rows = sum(s.end - s.first for s in stretches)
        raise DataError(f"replay: {length} rows in a stream required, found {rows} in all")
    draws = rng.integers(ends[-1], size=batch_size)
    chosen = np.searchsorted(ends, draws, side="right")
    frames = np.empty((batch_size, length, *store.layout.frame_shape), dtype=np.uint8)
    steps = np.empty((batch_size, length), dtype=store.layout.step_dtype)
    for b, (i, draw) in enumerate(zip(chosen.tolist(), draws.tolist(), strict=True)):
        start = stretches[i].end - length - (int(ends[i]) - 1 - draw)
        store.read(stretches[i].stream, start, frames[b], steps[b])
    return _to_batch(frames, steps)


def sample_frames(
    store: ShardStore, stretches: Sequence[Stretch], count: int, rng: np.random.Generator
) -> UInt8[Tensor, "N C H W"]:
    """Returns at most ``count`` different frames of the stretches, uniformly drawn."""
    ends = np.cumsum([s.end - s.first for s in stretches], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    picks = np.sort(rng.permutation(total)[:count])
    frames = np.empty((len(picks), *store.layout.frame_shape), dtype=np.uint8)
    step = np.empty(1, dtype=store.layout.step_dtype)
    for n, pick in enumerate(picks.tolist()):
        i = int(np.searchsorted(ends, pick, side="right"))
        row = stretches[i].end - (int(ends[i]) - pick)
        store.read(stretches[i].stream, row, frames[n : n + 1], step)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


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
