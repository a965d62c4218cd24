"""Episodes with their true segmentation, to measure objects on.

Episode k is reset with a seed of its own, drawn from (seed, stream, k): other episodes than those of
training, evaluation and ``doctor``. Only the policy sees observations, and only observations; labels
go beside them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from aime_agent.envs.segmentation import Parts, Segmented
from aime_agent.errors import ConfigError, DataError
from aime_agent.training.evaluate import Predict
from aime_agent.training.seeding import numpy_rng


class SegmentedEpisodes(NamedTuple):
    """E episodes of T frames, each from its beginning."""

    frames: UInt8[np.ndarray, "E T H W C"]
    bodies: UInt16[np.ndarray, "E T H W"]
    """Body that each pixel shows; 0 is the background."""
    actions: Float32[np.ndarray, "E T A"]
    """Taken after each frame; zeros after the last."""
    rewards: Float32[np.ndarray, "E T"]
    """Arrived with each frame; 0 with the first."""
    parts: Parts
    seeds: tuple[int, ...]
    """Reset seed of each episode."""


def collect_segmented(
    env: Segmented,
    policy: Predict,
    episodes: int,
    steps: int,
    seed: int,
    stream: str = "objects",
) -> SegmentedEpisodes:
    """Plays the first ``steps`` frames of ``episodes`` episodes.

    Args:
        env: With body labels and pixels.
        policy: ``predict`` of an agent or of a baseline of `aime_agent.training.evaluate`.
        episodes: How many, at least 1.
        steps: Frames of each, at least 2.
        seed: Chooses the episodes.
        stream: Episodes of another name have other seeds: to fit on some and judge on others.

    Raises:
        ConfigError: a count or the level of ``env`` cannot work.
        DataError: an episode ended before ``steps`` frames.
    """
    if env.level != "bodies":
        raise ConfigError(f"env: Segmented(..., level='bodies') required, found {env.level!r}")
    for name, value, least in (("episodes", episodes, 1), ("steps", steps, 2)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, found {value}")
    seeds = tuple(int(numpy_rng(seed, stream, k).integers(2**31)) for k in range(episodes))
    played = [_play(env, policy, start, steps) for start in seeds]
    frames, bodies, actions, rewards = (np.stack(arrays) for arrays in zip(*played, strict=True))
    return SegmentedEpisodes(frames, bodies, actions, rewards, env.parts, seeds)


def _play(
    env: Segmented, policy: Predict, seed: int, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    observation, info = env.reset(seed=seed)
    frames, bodies, actions = [_pixels(observation)], [info["segmentation"]], []
    rewards = [0.0]
    state: Any = None
    while len(frames) < steps:
        start = np.array([len(frames) == 1])
        action, state = policy(observation, state, episode_start=start, deterministic=True)
        observation, reward, terminated, truncated, info = env.step(action)
        actions.append(np.asarray(action, np.float32))
        rewards.append(float(reward))
        frames.append(_pixels(observation))
        bodies.append(info["segmentation"])
        if (terminated or truncated) and len(frames) < steps:
            raise DataError(
                f"steps: episodes of at least {steps} frames required, found one of {len(frames)}"
            )
    actions.append(np.zeros_like(actions[0]))
    labels = np.stack(bodies).astype(np.uint16)
    return np.stack(frames), labels, np.stack(actions), np.array(rewards, np.float32)


def _pixels(observation: Any) -> np.ndarray:
    return np.array(observation["pixels"] if isinstance(observation, Mapping) else observation)
