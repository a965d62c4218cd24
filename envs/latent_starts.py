"""Where dreams begin: a bank of beliefs, filtered once from real observations.

A start is the belief at the last of a few successive frames. Frames come from a stored dataset or the
replay of a run, from arrays, or from an environment that plays random actions.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8

from aime_agent.data.splits import open_split
from aime_agent.errors import ConfigError, DataError
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.sequence import filter_sequence
from aime_agent.world_model.state import Belief, bare_belief, map_tree

_PORTION = 64
"""Windows that are filtered at once, which bounds the memory."""
_HOLD = 3
"""Steps that a random action is held for: white noise moves nothing."""
_LIVE_STEPS = 500


class Clips(NamedTuple):
    """M windows of T successive frames and the actions between them."""

    frames: UInt8[np.ndarray, "M T H W C"]
    actions: Float32[np.ndarray, "M U A"]
    """U = T − 1."""


class Played(NamedTuple):
    """Frames of an episode, and the action after each of them."""

    frames: UInt8[np.ndarray, "T H W C"]
    actions: Float32[np.ndarray, "T A"]


class Bank(NamedTuple):
    """Beliefs to start from."""

    beliefs: Belief

    @property
    def size(self) -> int:
        """How many."""
        return len(self.beliefs.z)

    def take(self, rows: Int[np.ndarray, " n"]) -> Belief:
        """Returns some of them."""
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self.beliefs.z.device)
        return map_tree(lambda x: x[index], self.beliefs)


def filter_clips(model: AimeWorldModel, clips: Clips, attend: bool) -> Bank:
    """Filters windows into the beliefs at their last frames.

    Args:
        model: The world model.
        clips: The windows.
        attend: Keep attention and slots, for who observes or renders them.

    Raises:
        DataError: frames or actions do not fit the model.
    """
    _check(model, clips)
    found = []
    with torch.no_grad():
        for low in range(0, len(clips.frames), _PORTION):
            part = Clips(*(x[low : low + _PORTION] for x in clips))
            found.append(_last(model, part, attend))
    return Bank(map_tree(lambda *xs: torch.cat(xs), *found))


def stored_clips(folder: str | Path, count: int, length: int, seed: int) -> Clips:
    """Cuts windows out of the episodes of a dataset, or of the replay of a run.

    Raises:
        DataError: there is no dataset, or no episode is long enough.
    """
    episodes = open_split(folder, held_out=0.0).train
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.integers(len(episodes), size=count))
    numbers, counts = np.unique(chosen, return_counts=True)
    films = (
        (Played(e.frames, e.actions), int(n))
        for n, e in zip(counts, (episodes[i] for i in numbers.tolist()), strict=True)
    )
    return _join([_cut(film, n, length, rng, str(folder)) for film, n in films])


def live_clips(env: gym.Env[Any, Any], count: int, length: int, seed: int) -> Clips:
    """Plays random actions and cuts windows out of what was seen.

    Args:
        env: Has pixels: a Box of frames, or a dictionary with ``pixels``; the caller closes it.
        count: How many windows.
        length: Frames per window.
        seed: Of the episodes, the actions and the choice.
    """
    rng = np.random.default_rng(seed)
    films = list(_play(env, max(_LIVE_STEPS, length), rng, seed))
    share = rng.multinomial(count, [1 / len(films)] * len(films)).tolist()
    pairs = [(film, n) for film, n in zip(films, share, strict=True) if n]
    return _join([_cut(film, n, length, rng, "the environment") for film, n in pairs])


def array_clips(frames: Any, actions: Any = None, action_dim: int = 0) -> Clips:
    """Takes frames as they are: one window ``[T, H, W, C]``, or several ``[M, T, H, W, C]``.

    Args:
        frames: uint8; the last one of each window is where dreams begin.
        actions: The T − 1 actions between them; may be left out for a single frame.
        action_dim: A, of the model.

    Raises:
        DataError: shapes do not fit, or actions are missing.
    """
    films = np.asarray(frames)
    films = films[None] if films.ndim == 4 else films
    if films.ndim != 5 or films.dtype != np.uint8 or not films.size:
        raise DataError(
            "frames: uint8 of shape [T, H, W, C] or [M, T, H, W, C] required, found "
            f"{films.dtype} of shape {list(np.shape(frames))}"
        )
    between = films.shape[1] - 1
    if actions is None and between:
        raise DataError(
            f"actions: the {between} actions between {between + 1} frames required, found none; "
            "give them, or a single frame"
        )
    given = np.zeros((len(films), 0, action_dim)) if actions is None else np.asarray(actions)
    given = given[None] if given.ndim == 2 else given
    return Clips(films, given.astype(np.float32))


def _check(model: AimeWorldModel, clips: Clips) -> None:
    c = model.config
    frame = (c.image_size, c.image_size, c.image_channels)
    if clips.frames.shape[2:] != frame:
        raise DataError(
            f"frames: shape {list(frame)} of the world model required, found "
            f"{list(clips.frames.shape[2:])}"
        )
    shape = (clips.frames.shape[0], clips.frames.shape[1] - 1, c.action_dim)
    if clips.actions.shape != shape:
        raise DataError(
            f"actions: shape {list(shape)} (one between two frames) required, found "
            f"{list(clips.actions.shape)}"
        )


def _last(model: AimeWorldModel, clips: Clips, attend: bool) -> Belief:
    device = model.pixels.mean.device
    frames = model.images(torch.from_numpy(clips.frames).permute(0, 1, 4, 2, 3).contiguous())
    unused = np.zeros((len(clips.actions), 1, model.config.action_dim), np.float32)
    actions = torch.from_numpy(np.concatenate([clips.actions, unused], 1)).to(frames)
    first = torch.zeros(frames.shape[:2], dtype=torch.bool, device=device)
    first[:, 0] = True
    return carried(filter_sequence(model, frames, actions, first)[1], attend)


def carried(belief: Belief, attend: bool) -> Belief:
    """Returns what a dream carries on from a belief, in one form for seen and for dreamt ones."""
    if not attend:
        state = belief.state
        bare = bare_belief(state.hidden, state.cell, belief.z, belief.context_hat, belief.context)
        return bare._replace(state=bare.state._replace(action=state.action))
    return belief._replace(
        mean=None, std=None, log_pi=None, log_evidence=None, shift=None, slots_hat=None,
        responsibilities=None,
    )  # fmt: skip


def _play(
    env: gym.Env[Any, Any], steps: int, rng: np.random.Generator, seed: int
) -> Iterator[Played]:
    """Plays episodes until there are enough frames."""
    space = env.action_space
    if not isinstance(space, gym.spaces.Box):
        raise ConfigError(f"start: an environment with a Box of actions required, found {space}")
    left = steps
    while left > 0:
        observation, _ = env.reset(seed=seed + left)
        frames, done = [_pixels(observation)], False
        actions: list[np.ndarray] = []
        while not done and left > 0:
            if len(actions) % _HOLD == 0:
                action = rng.uniform(space.low, space.high).astype(np.float32)
            observation, _, terminated, truncated, _ = env.step(action)
            frames.append(_pixels(observation))
            actions.append(action)
            done, left = bool(terminated or truncated), left - 1
        actions.append(np.zeros_like(action))
        yield Played(np.stack(frames), np.stack(actions))


def _pixels(observation: Any) -> UInt8[np.ndarray, "H W C"]:
    pixels = observation["pixels"] if isinstance(observation, dict) else observation
    return np.asarray(pixels)


def _cut(film: Played, count: int, length: int, rng: np.random.Generator, where: str) -> Clips:
    """Cuts ``count`` windows of ``length`` frames out of one episode."""
    room = len(film.frames) - length
    if room < 0:
        raise DataError(
            f"{where}: episodes of at least {length} frames required, found {len(film.frames)}; "
            "give a smaller context"
        )
    lows = rng.integers(room + 1, size=count)
    frames = np.stack([film.frames[a : a + length] for a in lows])
    actions = np.stack([film.actions[a : a + length - 1] for a in lows])
    return Clips(frames, actions)


def _join(clips: Sequence[Clips]) -> Clips:
    return Clips(
        np.concatenate([c.frames for c in clips]), np.concatenate([c.actions for c in clips])
    )
