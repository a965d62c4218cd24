"""Beliefs instead of pixels: a frozen world model filters the frames of an environment.

| class | wraps |
|---|---|
| `BeliefObservation` | a Gymnasium environment |
| `BeliefVector` | a Gymnasium vector environment, any autoreset mode, all in one forward pass |
| `BeliefVecEnv` | a Stable-Baselines3 `VecEnv`, the same |

At an episode's end the last frame is filtered with the old state and the first frame of the next
episode with ``is_first``. z is its posterior mean: the same frames and actions give the same beliefs,
and these equal `AimeWorldModel.forward_sequence`.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, UInt8
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor

from aime_agent.envs.belief_spaces import (
    BeliefObservations,
    belief_space,
    control_space,
    observe_belief,
)
from aime_agent.errors import ConfigError
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.frozen import WorldRef, freeze
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief, map_tree

World = AimeWorldModel | str | Path | WorldRef


class BeliefTracker:
    """The belief of each of N environments, from frame to frame.

    Args:
        world: A world model, where one lies, or a reference to one.
        observation: ``belief``, ``slots`` or ``objects`` (see `aime_agent.envs.belief_spaces`).
        device: Where the model computes.
    """

    def __init__(self, world: World, observation: str, device: str = "cpu") -> None:
        self.world = freeze(world)
        self.filter = BeliefFilter(self.world.model(device))
        self.observation = observation
        self.space = belief_space(self.filter.model.config, observation)
        self.belief: Belief | None = None

    def check(self, env: Any, observation_space: Any, action_space: Any) -> None:
        """Refuses an environment that shows or takes something else than the model learned from.

        Raises:
            ConfigError: the message names what is required and the remedy.
        """
        c = self.filter.model.config
        pixels = observation_space
        if isinstance(pixels, spaces.Dict):
            pixels = pixels.spaces.get("pixels")
        shape = (c.image_size, c.image_size, c.image_channels)
        if not isinstance(pixels, spaces.Box) or pixels.shape != shape or pixels.dtype != np.uint8:
            raise ConfigError(
                f"env {env}: uint8 pixels {list(shape)}, alone or under the key 'pixels', required, "
                f"found {observation_space}; make it with image_size={c.image_size}"
            )
        required = control_space(c)
        if not isinstance(action_space, spaces.Box) or action_space.shape != required.shape:
            raise ConfigError(
                f"env {env}: actions {required} required, found {action_space}; the world model was "
                f"trained with {c.action_dim} actions (aime_agent.envs.adapt brings others to Box)"
            )

    def begin(
        self, observation: Any, mask: Bool[np.ndarray, " N"] | None = None
    ) -> BeliefObservations:
        """Returns what is observed at first frames.

        Args:
            observation: Of all N environments.
            mask: Which of them begin an episode; the others keep their belief. None for all.
        """
        frames = self.filter.frames(observation)
        if mask is None or self.belief is None:
            every = np.ones(len(frames), dtype=bool)
            state = self.filter.initial_state(len(frames))
            self.belief = self.filter.observe(frames, state, every)
        elif mask.any():
            self._restart(frames, mask)
        return observe_belief(self.filter, self.belief, self.observation)

    def follow(
        self,
        actions: np.ndarray,
        observation: Any,
        is_first: Bool[np.ndarray, " N"] | None = None,
    ) -> BeliefObservations:
        """Returns what is observed after these actions.

        Args:
            actions: What the environments were given.
            observation: What they showed.
            is_first: Where the frame begins an episode instead (autoreset in the next step).

        Raises:
            ConfigError: nothing has been reset yet.
        """
        if self.belief is None:
            raise ConfigError("step: a reset before the first step required")
        frames = self.filter.frames(observation)
        given = np.asarray(actions, dtype=np.float32).reshape(len(frames), -1)
        state = self.filter.advance(self.belief, given)
        first = np.zeros(len(frames), dtype=bool) if is_first is None else is_first
        self.belief = self.filter.observe(frames, state, first)
        return observe_belief(self.filter, self.belief, self.observation)

    def follow_and_begin(
        self,
        actions: np.ndarray,
        observation: Any,
        done: Bool[np.ndarray, " N"],
        last: UInt8[np.ndarray, "N H W C"],
    ) -> tuple[BeliefObservations, BeliefObservations]:
        """Returns what is observed now, and what was at the end of the episodes that are done.

        Args:
            actions: What the environments were given.
            observation: What they show: first frames where an episode is done.
            done: Where.
            last: The frames, with the last one of the episode where it is done.
        """
        ends = self.follow(actions, last)
        return (self.begin(observation, done), ends) if done.any() else (ends, ends)

    def _restart(self, frames: UInt8[np.ndarray, "N H W C"], mask: Bool[np.ndarray, " N"]) -> None:
        """Forgets the rows of a mask and looks at their frames anew; a pass over these alone."""
        rows = torch.from_numpy(np.flatnonzero(mask)).to(self.filter.device)
        state = self.filter.initial_state(len(rows))
        fresh = self.filter.observe(frames[mask], state, np.ones(len(rows), dtype=bool))

        def put(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, rows, new)

        self.belief = map_tree(put, self.belief, fresh)  # type: ignore[type-var]


class BeliefObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Shows what a frozen world model believes of the frames, instead of the frames.

    Args:
        env: Its pixels, alone or under ``pixels``, are such as the model was trained on.
        world: A world model, where one lies (a run folder too), or a reference to one.
        observation: ``belief`` (a flat vector), ``slots`` or ``objects`` (dictionaries).
        world_hash: Refuse any other model than this one.
        device: Where the model computes.

    Raises:
        ConfigError: the environment does not fit the model.
        CheckpointError: the model is another than ``world_hash`` says.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        world: World,
        observation: str = "belief",
        world_hash: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(env)
        self.tracker = _tracker(world, observation, world_hash, device)
        self.tracker.check(env, env.observation_space, env.action_space)
        self.observation_space = self.tracker.space
        self.action_space = control_space(self.tracker.filter.model.config)

    @property
    def world(self) -> WorldRef:
        """The world model whose beliefs these are."""
        return self.tracker.world

    @property
    def world_hash(self) -> str:
        """Its hash."""
        return self.tracker.world.digest

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and the belief."""
        observation, info = self.env.reset(seed=seed, options=options)
        return _first_row(self.tracker.begin(_as_batch(observation))), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment and filters its frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = self.tracker.follow(np.asarray(action)[None], _as_batch(observation))
        return _first_row(seen), reward, terminated, truncated, info


class BeliefVector(VectorWrapper[Any, Any, Any, Any, Any]):
    """`BeliefObservation` of a Gymnasium vector environment: one forward pass for all.

    Args:
        env: Any autoreset mode.
        world: As for `BeliefObservation`.
        observation: As for `BeliefObservation`.
        world_hash: Refuse any other model than this one.
        device: Where the model computes.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        world: World,
        observation: str = "belief",
        world_hash: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(env)
        self.tracker = _tracker(world, observation, world_hash, device)
        self.tracker.check(env, env.single_observation_space, env.single_action_space)
        self.single_observation_space = self.tracker.space
        self.observation_space = batch_space(self.tracker.space, env.num_envs)
        self.autoreset_mode = AutoresetMode(env.metadata["autoreset_mode"])
        self._ended = np.zeros(env.num_envs, dtype=bool)

    @property
    def world_hash(self) -> str:
        """Hash of the world model whose beliefs these are."""
        return self.tracker.world.digest

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets all, or with ``options["reset_mask"]`` those that it names."""
        mask = None if options is None else options.get("reset_mask")
        observation, info = self.env.reset(seed=seed, options=options)
        self._ended[slice(None) if mask is None else mask] = False
        return self.tracker.begin(observation, mask), info

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps all and filters their frames."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        done = np.asarray(terminated) | np.asarray(truncated)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and done.any():
            last = _with_last(self.tracker, observation, done, info["final_obs"])
            seen, ends = self.tracker.follow_and_begin(actions, observation, done, last)
            final = np.full(self.num_envs, None, dtype=object)
            for i in _places(done):
                final[i] = _row(ends, i)
            info = {**info, "final_obs": final}
        else:
            first = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP else None
            seen = self.tracker.follow(actions, observation, first)
        self._ended = done
        return seen, reward, terminated, truncated, info


class BeliefVecEnv(VecEnvWrapper):  # type: ignore[misc]
    """`BeliefObservation` of a Stable-Baselines3 `VecEnv`: one forward pass for all.

    Args:
        venv: Shows pixels, channels last.
        world: As for `BeliefObservation`.
        observation: As for `BeliefObservation`.
        world_hash: Refuse any other model than this one.
        device: Where the model computes.
    """

    def __init__(
        self,
        venv: VecEnv,
        world: World,
        observation: str = "belief",
        world_hash: str | None = None,
        device: str = "cpu",
    ) -> None:
        self.tracker = _tracker(world, observation, world_hash, device)
        self.tracker.check(venv, venv.observation_space, venv.action_space)
        self._actions: Any = None
        actions = control_space(self.tracker.filter.model.config)
        super().__init__(venv, observation_space=self.tracker.space, action_space=actions)

    @property
    def world_hash(self) -> str:
        """Hash of the world model whose beliefs these are."""
        return self.tracker.world.digest

    def reset(self) -> Any:
        """Resets all environments and their beliefs."""
        return self.tracker.begin(self.venv.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Sends the actions."""
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Filters the frames, the last ones of ended episodes with the old state."""
        observation, rewards, dones, infos = self.venv.step_wait()
        if not dones.any():
            return self.tracker.follow(self._actions, observation), rewards, dones, infos
        finals = [info.get("terminal_observation") for info in infos]
        last = _with_last(self.tracker, observation, dones, finals)
        seen, ends = self.tracker.follow_and_begin(self._actions, observation, dones, last)
        for i in _places(dones):
            infos[i] = {**infos[i], "terminal_observation": _row(ends, i)}
        return seen, rewards, dones, infos


def _tracker(world: World, observation: str, world_hash: str | None, device: str) -> BeliefTracker:
    tracker = BeliefTracker(world, observation, device)
    if world_hash is not None:
        tracker.world.require(world_hash, "what is asked for (world_hash)")
    return tracker


def _with_last(
    tracker: BeliefTracker, observation: Any, done: Bool[np.ndarray, " N"], finals: Any
) -> UInt8[np.ndarray, "N H W C"]:
    """The frames, with the last one of the episode where it is done."""
    frames = tracker.filter.frames(observation).copy()
    for i in _places(done):
        final = _row(finals, i) if isinstance(finals, dict) else finals[i]
        frames[i] = tracker.filter.frames(final)
    return frames


def _places(mask: Bool[np.ndarray, " N"]) -> list[int]:
    return np.flatnonzero(mask).tolist()


def _as_batch(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]


def _row(observations: BeliefObservations, i: int) -> Any:
    if isinstance(observations, dict):
        return {key: value[i].copy() for key, value in observations.items()}
    return observations[i].copy()


def _first_row(observations: BeliefObservations) -> Any:
    return _row(observations, 0)
