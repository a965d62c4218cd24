"""A saved Stable-Baselines3 policy as somebody who plays from pixels, like `AimeAgent`.

What the policy was trained on is made here from the frames: beliefs (filtered by the world model that
the policy names), or a stack of the last frames. So `eval` and `collect` need not know the difference.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, UInt8

from aime_agent.configs import from_dict
from aime_agent.envs.belief_spaces import observe_belief
from aime_agent.envs.make import environment_id, make_env
from aime_agent.errors import CheckpointError, ConfigError, DataError
from aime_agent.policies.saving import is_policy, load_policy
from aime_agent.training.config import TrainConfig
from aime_agent.training.sb3_config import Sb3Config
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief

POLICY_FOLDER = "policy"


class Memory(NamedTuple):
    """What a player remembers between two actions."""

    seen: Any
    """The belief at t, or the stack of frames up to t."""
    action: np.ndarray
    inner: Any
    """A recurrent policy's own state."""


class BeliefPlayer:
    """Filters frames and asks a policy that was trained on beliefs.

    Args:
        policy: Has SB3's ``predict``.
        stream: Filters with the world model that the policy was trained on.
        kind: What of the belief it sees.
    """

    def __init__(self, policy: Any, stream: BeliefFilter, kind: str) -> None:
        self.policy, self.filter, self.kind = policy, stream, kind

    def see(
        self,
        frames: UInt8[np.ndarray, "N H W C"],
        memory: Memory | None,
        first: Bool[np.ndarray, " N"],
    ) -> tuple[Belief, Any]:
        """Returns the beliefs at these frames, and what the policy is shown."""
        if memory is None:
            state = self.filter.initial_state(len(frames))
        else:
            state = self.filter.advance(memory.seen, memory.action)
        belief = self.filter.observe(frames, state, first)
        return belief, observe_belief(self.filter, belief, self.kind)

    def frames(self, observation: Any) -> UInt8[np.ndarray, "..."]:
        """Returns an observation's pixels, if they are such as the model was trained on."""
        return self.filter.frames(observation)


class StackPlayer:
    """Stacks the last frames for a policy that was trained on pixels.

    Args:
        policy: Has SB3's ``predict``, and an image space ``[k · 3, H, W]``.
    """

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        channels, height, width = policy.observation_space.shape
        self.channels, self.shape = int(channels), (height, width, 3)

    def see(
        self,
        frames: UInt8[np.ndarray, "N H W C"],
        memory: Memory | None,
        first: Bool[np.ndarray, " N"],
    ) -> tuple[Any, Any]:
        """Returns the stacks up to these frames, twice: to remember and to show."""
        n, height, width, _ = frames.shape
        old = (
            np.zeros((n, height, width, self.channels), np.uint8) if memory is None else memory.seen
        )
        old = np.where(first[:, None, None, None], 0, old).astype(np.uint8)
        stack = np.concatenate([old[..., 3:], frames], axis=-1)
        return stack, stack

    def frames(self, observation: Any) -> UInt8[np.ndarray, "..."]:
        """Returns an observation's pixels.

        Raises:
            DataError: they have another shape than the policy was trained on.
        """
        pixels = observation["pixels"] if isinstance(observation, Mapping) else observation
        found = np.asarray(pixels)
        if found.shape[-3:] != self.shape or found.dtype != np.uint8:
            raise DataError(
                f"observation: uint8 of shape {list(self.shape)} required, found {found.dtype} of "
                f"shape {list(found.shape)}; make_env() gives such frames"
            )
        return found


class Sb3Agent:
    """Plays from pixels with a saved policy; what `eval` and `collect` ask of an agent.

    Args:
        policy: What `aime_agent.policies.load_policy` returned.
        config: Settings of the run that trained it, if it was one of `train_sb3`.
        device: Where the world model computes.

    Raises:
        CheckpointError: the policy sees beliefs and names no world model.
    """

    def __init__(self, policy: Any, config: Sb3Config | None = None, device: str = "cpu") -> None:
        kind = observed_kind(policy.observation_space)
        if config is not None:
            self.config = config
        if kind == "pixels":
            self.player: BeliefPlayer | StackPlayer = StackPlayer(policy)
            return
        if policy.world is None:
            raise CheckpointError(
                "policy: it sees beliefs, but does not say of which world model; save it with "
                "save_policy(model, folder, world=freeze(...))"
            )
        stream = BeliefFilter(policy.world.model(device))
        self.player = BeliefPlayer(policy, stream, kind)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Sb3Agent":
        """Loads a run folder of `train_sb3`, or a folder of `save_policy`."""
        home = Path(path)
        folder = home if is_policy(home) else home / POLICY_FOLDER
        config = None
        if folder != home:
            config = from_dict(Sb3Config, json.loads((home / "config.json").read_text())["sb3"])
        return cls(load_policy(folder, device), config, device)

    @property
    def world_model(self) -> AimeWorldModel:
        """The world model whose beliefs the policy sees; films look into it.

        Raises:
            ConfigError: the policy sees pixels.
        """
        if isinstance(self.player, StackPlayer):
            raise ConfigError(
                "policy: one on beliefs required to look into its world model, found one on pixels"
            )
        return self.player.filter.model

    def make_env(self, render_mode: str | None = None, **changes: Any) -> gym.Env[Any, Any]:
        """Makes the real environment that belongs to the run.

        Raises:
            ConfigError: the policy was saved alone, so nobody knows its task.
        """
        if not hasattr(self, "config"):
            raise ConfigError(
                "policy: a run folder of 'train --algo sb3-...' required to make its environment, "
                "found a policy alone"
            )
        return make_env(
            self.config.task,
            render_mode=render_mode,
            **{**environment_settings(self.config), **changes},
        )

    def predict(
        self,
        observation: Any,
        state: Memory | None = None,
        episode_start: Bool[np.ndarray, " N"] | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Memory]:
        """Acts on frames with Stable-Baselines3's signature.

        Args:
            observation: One frame ``[H, W, C]`` or several ``[N, H, W, C]``, uint8; or a
                dictionary with ``pixels``.
            state: What the last call returned; None begins an episode.
            episode_start: Where an episode begins.
            deterministic: Take the likeliest action.
        """
        frames = self.player.frames(observation)
        single = frames.ndim == 3
        frames = frames[None] if single else frames
        n = len(frames)
        first = np.full(n, state is None) if episode_start is None else np.asarray(episode_start)
        first = first.astype(bool).reshape(n)
        seen, shown = self.player.see(frames, state, first)
        inner = None if state is None else state.inner
        action, inner = self.player.policy.predict(
            shown, state=inner, episode_start=first, deterministic=deterministic
        )
        memory = Memory(seen, np.asarray(action, np.float32), inner)
        return (action[0] if single else action), memory


def is_sb3_run(path: str | Path) -> bool:
    """Whether a folder is a run of `train_sb3` or what `save_policy` wrote."""
    return is_policy(path) or is_policy(Path(path) / POLICY_FOLDER)


def environment_settings(config: Sb3Config | TrainConfig) -> dict[str, Any]:
    """Returns what `make_env` takes of a run's settings."""
    settings: dict[str, Any] = {
        "image_size": config.image_size,
        "action_repeat": config.action_repeat,
    }
    if "AIME/" in environment_id(config.task):
        settings |= {"camera_id": config.camera_id, "render_quality": config.render_quality}
    return settings


def observed_kind(space: spaces.Space[Any]) -> str:
    """Returns what a policy with this observation space was trained on.

    Raises:
        ConfigError: neither beliefs nor frames.
    """
    if isinstance(space, spaces.Dict):
        keys = set(space.spaces)
        if keys == {"belief", "slots", "centers", "mass"}:
            return "objects"
        if keys == {"belief", "slots"}:
            return "slots"
    if isinstance(space, spaces.Box) and len(space.shape) in (1, 3):
        return "belief" if len(space.shape) == 1 else "pixels"
    raise ConfigError(f"policy: beliefs, slots or stacked frames required, found {space}")
