"""Other people's pixel environments, brought to the form of `DmControlEnv`.

Pixels are uint8 [H, W, 3], alone or under the key ``pixels``; actions are a Box in [-1, 1]: a
bounded Box is rescaled, and of n discrete actions the largest of n numbers is taken (one-hot
vectors are points of that Box). What cannot be brought there is refused, with the name of the
Gymnasium wrapper that helps.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.wrappers import RepeatAction
from jaxtyping import Float, UInt8
from PIL import Image

from aime_agent.envs.episodes import EpisodeSeeds, Replayable
from aime_agent.errors import ConfigError, DataError


class AdaptedEnv(gymnasium.Wrapper[Any, np.ndarray, Any, Any], Replayable):
    """Pixels, Box actions in [-1, 1], seeded episodes; made by `adapt`."""

    def __init__(self, env: gymnasium.Env[Any, Any], image_size: int | None) -> None:
        super().__init__(env)
        self.image_size = image_size
        self.observation_space = _adapted_space(env.observation_space, image_size)
        self.action_space = _action_box(env.action_space)
        self._seeds = EpisodeSeeds()
        self._seen: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode, or with ``seed`` a new stream of episodes."""
        if seed is not None:
            self._seeds.start(seed)
        elif self._seeds.base is None:
            self._seeds.start(int(np.random.SeedSequence().generate_state(1)[0]))
        return self._begin(options)

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps with an action in [-1, 1]."""
        observation, reward, terminated, truncated, info = self.env.step(self._native(action))
        self._seen = self._adapted(observation)
        return self._seen, reward, terminated, truncated, info

    def current_observation(self) -> Any:
        """Returns the last observation."""
        if self._seen is None:
            raise ResetNeeded("reset comes before the first observation")
        return self._seen

    def fast_forward(
        self, seed: int, actions: Sequence[Any] | np.ndarray, episode: int = 0
    ) -> Float[np.ndarray, "steps"]:
        """Resets to an episode and repeats its actions (with whatever the env renders)."""
        self._seeds.start(seed, episode)
        self._begin(None)
        return np.array([self.step(action)[1] for action in actions], dtype=np.float64)

    def _begin(self, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        episode_seed = self._seeds.next()
        observation, info = self.env.reset(seed=episode_seed, options=options)
        self._seen = self._adapted(observation)
        extra = {"episode_seed": episode_seed, "episode_index": self._seeds.episode}
        return self._seen, {**info, **extra}

    def _native(self, action: Any) -> Any:
        value = np.asarray(action, dtype=np.float32)
        if value.shape != self.action_space.shape:
            raise DataError(
                f"action must have shape {self.action_space.shape}, found {value.shape}"
            )
        if not np.abs(value).max() <= 1.0:
            raise DataError(f"action must be finite and within [-1, 1], found {value.tolist()}")
        inner = self.env.action_space
        if isinstance(inner, spaces.Discrete):
            return inner.start + np.int64(value.argmax())
        low, high = inner.low.astype(np.float64), inner.high.astype(np.float64)  # type: ignore[attr-defined]
        return np.clip(low + (value + 1.0) / 2.0 * (high - low), low, high).astype(inner.dtype)

    def _adapted(self, observation: Any) -> Any:
        if self.image_size is None:
            return observation
        if isinstance(observation, dict):
            return {**observation, "pixels": _resize(observation["pixels"], self.image_size)}
        return _resize(observation, self.image_size)


def adapt(
    env: gymnasium.Env[Any, Any], *, image_size: int | None = None, action_repeat: int = 1
) -> AdaptedEnv:
    """Brings a pixel environment to the form that the world model takes.

    Args:
        env: An environment with uint8 [H, W, 3] pixels, alone or under the key ``pixels``, and
            Discrete or bounded Box actions.
        image_size: Side of the square that pictures are scaled to; None leaves them.
        action_repeat: Steps of ``env`` per agent step.

    Raises:
        ConfigError: the spaces do not fit; the message names the wrapper to use.
    """
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size must be at least 1, found {image_size}")
    repeated = env if action_repeat == 1 else RepeatAction(env, action_repeat)
    return AdaptedEnv(repeated, image_size)


def _adapted_space(space: spaces.Space[Any], image_size: int | None) -> spaces.Space[Any]:
    if isinstance(space, spaces.Dict):
        if "pixels" not in space.spaces:
            raise ConfigError(
                f"observation has the keys {sorted(space.spaces)}, and 'pixels' is required; use "
                "gymnasium.wrappers.AddRenderObservation(env, render_only=False)"
            )
        pixels = _pixel_box(space["pixels"], image_size)
        return spaces.Dict({**space.spaces, "pixels": pixels})
    return _pixel_box(space, image_size)


def _pixel_box(space: spaces.Space[Any], image_size: int | None) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
        raise ConfigError(
            f"observation must be pictures, found {space}; use "
            "gymnasium.wrappers.AddRenderObservation on an env made with render_mode='rgb_array'"
        )
    if space.shape[-1:] != (3,) or len(space.shape) != 3 or space.dtype != np.uint8:
        raise ConfigError(
            f"pixels must be uint8 [H, W, 3], found {space.dtype} {list(space.shape)}; use "
            "gymnasium.wrappers.TransformObservation to reorder or repeat channels"
        )
    height, width = (image_size, image_size) if image_size else space.shape[:2]
    return spaces.Box(0, 255, (height, width, 3), np.uint8)


def _action_box(space: spaces.Space[Any]) -> spaces.Box:
    if isinstance(space, spaces.Discrete):
        return spaces.Box(-1.0, 1.0, (int(space.n),), np.float32)
    if not isinstance(space, spaces.Box):
        raise ConfigError(
            f"actions must be Discrete or Box, found {space}; use gymnasium.wrappers.TransformAction"
        )
    if not space.is_bounded():
        raise ConfigError(
            f"actions must be bounded, found {space}; use gymnasium.wrappers.TransformAction "
            "with a bounded Box"
        )
    return spaces.Box(-1.0, 1.0, space.shape, np.float32)


def _resize(
    pixels: UInt8[np.ndarray, "H W 3"], image_size: int
) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    if pixels.shape[:2] == (image_size, image_size):
        return pixels
    picture = Image.fromarray(pixels).resize((image_size, image_size), Image.Resampling.BOX)
    return np.array(picture)
