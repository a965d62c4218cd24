"""Frames in, beliefs out: one frozen model filters the streams of N environments.

    belief_t  = infer(state_t, o_t, is_first_t)          state_{t+1} = advance(belief_t, a_t)

Agents, wrappers, planners and the start of dreams all filter through this class, so they believe
the same of the same frames; it equals `AimeWorldModel.forward_sequence` in eval mode.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent.errors import DataError
from aime_agent.world_model.state import Belief, WorldState

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel

LIMIT = 10.0
"""Features are clipped to ±LIMIT wherever they become somebody's observation."""


class Stream(NamedTuple):
    """One frame of each of N environments."""

    frames: UInt8[np.ndarray, "N H W C"]
    is_first: Bool[np.ndarray, " N"]
    single: bool
    """Whether it was given without the leading dimension, so that the answer has none either."""


class BeliefFilter:
    """Filters frames with a frozen model; holds no state of its own.

    Args:
        model: The world model; it is put into eval mode, and no gradient is kept.
    """

    def __init__(self, model: "AimeWorldModel") -> None:
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.pixels.mean.device

    @torch.no_grad()
    def initial_state(self, batch_size: int) -> WorldState:
        """State before the first observation."""
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def observe(
        self,
        frames: UInt8[np.ndarray, "N H W C"],
        state: WorldState,
        is_first: Bool[np.ndarray, " N"],
        sample: bool = False,
        attend: bool = False,
    ) -> Belief:
        """Returns what is believed at these frames.

        Args:
            frames: One frame per environment.
            state: What `advance` or `initial_state` returned.
            is_first: Where an episode begins; there the state is forgotten.
            sample: Draw z instead of taking its mean.
            attend: Whether attention maps are made too, for who reads slots' centres or looks.
        """
        if self.model.training:
            self.model.eval()
        pixels = torch.from_numpy(np.array(frames, order="C")).permute(0, 3, 1, 2)
        first = torch.from_numpy(np.asarray(is_first, dtype=bool)).to(self.device)
        return self.model.infer(state, pixels, first, sample=sample, attend=attend)

    @torch.no_grad()
    def advance(self, belief: Belief, action: Tensor | Float32[np.ndarray, "N A"]) -> WorldState:
        """Returns the state after these actions, before the next frames."""
        given = torch.as_tensor(np.asarray(action)) if isinstance(action, np.ndarray) else action
        return self.model.advance(belief, given.to(belief.z))

    def features(self, belief: Belief) -> Float32[np.ndarray, "N F"]:
        """Returns ``[h, z]`` within ±`LIMIT`, as an observation."""
        return _observation(belief.features)

    def slots(self, belief: Belief) -> Float32[np.ndarray, "N SD"]:
        """Returns the slots one after the other within ±`LIMIT`, as an observation.

        Raises:
            DataError: the model has no slots.
        """
        if belief.slots is None or not self.model.config.use_slots:
            raise DataError(
                "slots: a world model with slots required, found use_slots=False; "
                "observe the belief alone"
            )
        return _observation(belief.slots.flatten(1))

    def frames(
        self, observation: np.ndarray | Mapping[str, np.ndarray]
    ) -> UInt8[np.ndarray, "..."]:
        """Returns the pixels of an observation, if they are such as the model was trained on.

        Args:
            observation: Frames ``[H, W, C]`` or ``[N, H, W, C]``, or a dictionary with ``pixels``.

        Raises:
            DataError: they have another dtype or shape.
        """
        pixels = observation["pixels"] if isinstance(observation, Mapping) else observation
        c = self.model.config
        shape = (c.image_size, c.image_size, c.image_channels)
        found = np.asarray(pixels)
        if found.dtype != np.uint8 or found.shape[-3:] != shape or found.ndim not in (3, 4):
            raise DataError(
                f"observation: uint8 of shape {list(shape)} (or a batch of them) required, found "
                f"{found.dtype} of shape {list(found.shape)}; agent.make_env() gives such frames"
            )
        return found

    def batch(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        fresh: bool,
        episode_start: np.ndarray | None,
    ) -> Stream:
        """Reads what Stable-Baselines3's ``predict`` is given as a batch of streams.

        Args:
            observation: As for `frames`; a single frame is a batch of one.
            fresh: Whether there is no state yet, so that every stream begins.
            episode_start: Where an episode begins; None where nothing but ``fresh`` says so.

        Raises:
            DataError: frames of another dtype or shape.
        """
        frames = self.frames(observation)
        single = frames.ndim == 3
        frames = frames[None] if single else frames
        first = np.full(len(frames), fresh) if episode_start is None else np.asarray(episode_start)
        return Stream(frames, first.reshape(len(frames)), single)


def _observation(values: Tensor) -> Float32[np.ndarray, "N F"]:
    return values.clamp(-LIMIT, LIMIT).float().cpu().numpy()
