"""Training and held-out episodes of a stored dataset; whole episodes, never single frames.

Episodes are counted across the streams, i = number · streams + stream, and cut into blocks of
1 / f episodes, block j = ⌊i f⌋. One episode of each block is held out, chosen by a hash of
(seed, j). So the share is exact up to one episode, and adding episodes to a stored dataset never
moves one from one side to the other. (A replay with a byte cap forgets its oldest episodes and
counts the rest anew: split datasets, not a replay that is still being trimmed.)

    split = open_split("data/walker", held_out=0.2, seed=0)
    batch = split.train.sample(8, 32, numpy.random.default_rng(0))
    for episode in split.held_out: ...
"""

import zlib
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from aime_agent.data.dataset import open_described
from aime_agent.data.episode import Episode
from aime_agent.data.storage import ShardStore
from aime_agent.data.windows import Stretch, sample_frames, sample_windows
from aime_agent.errors import ConfigError, DataError
from aime_agent.structs import Batch


class EpisodeSpan(NamedTuple):
    """Where a complete episode lies."""

    env: int
    """Stream of the store: one per environment."""
    number: int
    """Of the episode within its stream, from 0."""
    start: int
    """First row."""
    length: int
    """Rows: one more than actions were taken."""


class EpisodeSet:
    """Some episodes of a store: windows of their rows, or the episodes one by one.

    Args:
        store: Where the rows lie.
        spans: The episodes.
    """

    def __init__(self, store: ShardStore, spans: Sequence[EpisodeSpan]) -> None:
        self.store = store
        self.spans = tuple(sorted(spans))
        self._stretches = _stretches(self.spans)

    def __len__(self) -> int:
        """Returns the number of episodes."""
        return len(self.spans)

    def __getitem__(self, index: int) -> Episode:
        """Reads an episode."""
        return read_episode(self.store, self.spans[index])

    def __iter__(self) -> Iterator[Episode]:
        """Reads one episode after the other."""
        return (read_episode(self.store, span) for span in self.spans)

    @property
    def num_rows(self) -> int:
        """Observations in all episodes."""
        return sum(span.length for span in self.spans)

    def sample(self, batch_size: int, length: int, rng: np.random.Generator) -> Batch:
        """Draws windows of successive rows, each valid one equally likely.

        A window may go on from an episode into the next one of the same set (``is_first`` marks
        the row); it never touches an episode outside the set.

        Raises:
            DataError: no run of episodes has ``length`` rows.
        """
        return sample_windows(self.store, self._stretches, batch_size, length, rng)

    def frames(self, count: int, rng: np.random.Generator) -> UInt8[Tensor, "N C H W"]:
        """Returns at most ``count`` different frames, uniformly drawn."""
        return sample_frames(self.store, self._stretches, count, rng)


class Split(NamedTuple):
    """Two disjoint sets of episodes of one store."""

    train: EpisodeSet
    held_out: EpisodeSet


def open_split(folder: str | Path, held_out: float = 0.2, seed: int = 0) -> Split:
    """Opens a stored dataset, or the replay of a run, for reading and splits its episodes.

    Args:
        folder: Holds ``manifest.json``, or is a run folder with ``replay/manifest.json``.
        held_out: Share of the episodes to hold out, 0 (none) to 0.5.
        seed: Chooses them.

    Raises:
        DataError: there is no dataset, it is damaged, or it has too few complete episodes.
    """
    store, _, whole = open_described(folder)
    ended = [(i, store.bounds(i)[1]) for i in range(store.num_streams)] if whole else []
    train, held = split_episodes(list_episodes(store, ended), store.num_streams, held_out, seed)
    if not train or (held_out > 0 and not held):
        raise DataError(
            f"{folder}: at least {max(1, -(-1 // held_out) if held_out else 1):g} complete "
            f"episodes required to hold out {held_out:g} of them, found {len(train) + len(held)}; "
            "collect more or hold out a larger share"
        )
    return Split(EpisodeSet(store, train), EpisodeSet(store, held))


def list_episodes(store: ShardStore, ended: Collection[tuple[int, int]] = ()) -> list[EpisodeSpan]:
    """Finds the complete episodes, stream by stream.

    An episode is complete if another one follows it, if its last row is a true end of the task, or
    if it is known to have ended.

    Args:
        store: Where to look.
        ended: Known ends, as (stream, row after the last).
    """
    spans = []
    for env in range(store.num_streams):
        first, end = store.bounds(env)
        steps = store.read_steps(env)
        starts = first + np.flatnonzero(steps["is_first"])
        stops = [*starts[1:].tolist(), end]
        for number, (start, stop) in enumerate(zip(starts.tolist(), stops, strict=False)):
            last = stop == end
            if not last or steps["terminated"][-1] or (env, stop) in ended:
                spans.append(EpisodeSpan(env, number, start, stop - start))
    return spans


def split_episodes(
    spans: Sequence[EpisodeSpan], num_streams: int, held_out: float = 0.2, seed: int = 0
) -> tuple[list[EpisodeSpan], list[EpisodeSpan]]:
    """Divides episodes into those to train on and those to hold out.

    >>> spans = [EpisodeSpan(0, k, 10 * k, 10) for k in range(10)]
    >>> train, held = split_episodes(spans, 1, held_out=0.2)
    >>> len(train), len(held), set(train) & set(held)
    (8, 2, set())

    Raises:
        ConfigError: the share is not between 0 and 0.5.
    """
    if not 0 <= held_out <= 0.5:
        raise ConfigError(f"held_out must lie between 0 and 0.5, found {held_out}")
    share = Fraction(held_out).limit_denominator(10_000)
    train: list[EpisodeSpan] = []
    held: list[EpisodeSpan] = []
    for span in spans:
        chosen = _is_held_out(span.number * num_streams + span.env, share, seed)
        (held if chosen else train).append(span)
    return train, held


def read_episode(store: ShardStore, span: EpisodeSpan) -> Episode:
    """Copies an episode out of a store, bit for bit."""
    frames = np.empty((span.length, *store.layout.frame_shape), dtype=np.uint8)
    rows = np.empty(span.length, dtype=store.layout.step_dtype)
    store.read(span.env, span.start, frames, rows)
    return Episode(
        frames=frames,
        actions=rows["action"].copy(),
        rewards=rows["reward"].copy(),
        terminated=rows["terminated"].copy(),
    )


def fingerprint(split: Split) -> int:
    """Returns a checksum (CRC-32) of everything in both sets but the frames.

    Where all episodes have one length they lie in the same rows of every dataset; this tells one
    dataset from another.
    """
    total = 0
    for episodes in split:
        for env in sorted({span.env for span in episodes.spans}):
            steps, first = episodes.store.read_steps(env), episodes.store.bounds(env)[0]
            for span in (s for s in episodes.spans if s.env == env):
                low = span.start - first
                total = zlib.crc32(steps[low : low + span.length].tobytes(), total)
    return total


def _is_held_out(index: int, share: Fraction, seed: int) -> bool:
    """Says whether the hash of its block chooses this episode."""
    if share == 0:
        return False
    block = index * share.numerator // share.denominator
    first = -(-block * share.denominator // share.numerator)
    after = -(-(block + 1) * share.denominator // share.numerator)
    chosen = np.random.SeedSequence([seed, zlib.crc32(b"held out"), block]).generate_state(1)[0]
    return index - first == int(chosen) % (after - first)


def _stretches(spans: Sequence[EpisodeSpan]) -> list[Stretch]:
    """Joins episodes that follow each other on disk."""
    joined: list[Stretch] = []
    for span in spans:
        if joined and joined[-1].stream == span.env and joined[-1].end == span.start:
            joined[-1] = joined[-1]._replace(end=span.start + span.length)
        else:
            joined.append(Stretch(span.env, span.start, span.start + span.length))
    return joined
