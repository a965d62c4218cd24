"""The belief of each of N environments, from frame to frame; under every wrapper of `beliefs`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, UInt8
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
        world_hash: Refuse any other model than this one.
        device: Where the model computes.

    Raises:
        CheckpointError: the model is another than ``world_hash`` says.
    """

    def __init__(
        self, world: World, observation: str, world_hash: str | None = None, device: str = "cpu"
    ) -> None:
        self.world = freeze(world)
        if world_hash is not None:
            self.world.require(world_hash, "what is asked for (world_hash)")
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


def with_last(
    tracker: BeliefTracker, observation: Any, done: Bool[np.ndarray, " N"], finals: Any
) -> UInt8[np.ndarray, "N H W C"]:
    """The frames, with the last one of the episode where it is done."""
    frames = tracker.filter.frames(observation).copy()
    for i in places(done):
        final = row(finals, i) if isinstance(finals, dict) else finals[i]
        frames[i] = tracker.filter.frames(final)
    return frames


def places(mask: Bool[np.ndarray, " N"]) -> list[int]:
    """Returns where a mask is true, as plain numbers."""
    return np.flatnonzero(mask).tolist()


def as_batch(observation: Any) -> Any:
    """Returns the observation of one environment as a batch of one."""
    if isinstance(observation, dict):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]


def row(observations: BeliefObservations, i: int) -> Any:
    """Returns a copy of one environment's part."""
    if isinstance(observations, dict):
        return {key: value[i].copy() for key, value in observations.items()}
    return observations[i].copy()
