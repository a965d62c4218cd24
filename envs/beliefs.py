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

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from aime_agent.envs.belief_spaces import control_space
from aime_agent.envs.belief_tracker import BeliefTracker, World, as_batch, places, row, with_last
from aime_agent.world_model.frozen import WorldRef


class _Named:
    """What all wrappers say of the world model whose beliefs they show."""

    tracker: BeliefTracker

    @property
    def world(self) -> WorldRef:
        """The world model whose beliefs these are."""
        return self.tracker.world

    @property
    def world_hash(self) -> str:
        """Its hash."""
        return self.tracker.world.digest


class BeliefObservation(_Named, gym.Wrapper[Any, Any, Any, Any]):
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
        self.tracker = BeliefTracker(world, observation, world_hash, device)
        self.tracker.check(env, env.observation_space, env.action_space)
        self.observation_space = self.tracker.space
        self.action_space = control_space(self.tracker.filter.model.config)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and the belief."""
        observation, info = self.env.reset(seed=seed, options=options)
        return row(self.tracker.begin(as_batch(observation)), 0), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment and filters its frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = self.tracker.follow(np.asarray(action)[None], as_batch(observation))
        return row(seen, 0), reward, terminated, truncated, info


class BeliefVector(_Named, VectorWrapper[Any, Any, Any, Any, Any]):
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
        self.tracker = BeliefTracker(world, observation, world_hash, device)
        self.tracker.check(env, env.single_observation_space, env.single_action_space)
        self.single_observation_space = self.tracker.space
        self.observation_space = batch_space(self.tracker.space, env.num_envs)
        self.autoreset_mode = AutoresetMode(env.metadata["autoreset_mode"])
        self._ended = np.zeros(env.num_envs, dtype=bool)

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
            last = with_last(self.tracker, observation, done, info["final_obs"])
            seen, ends = self.tracker.follow_and_begin(actions, observation, done, last)
            final = np.full(self.num_envs, None, dtype=object)
            for i in places(done):
                final[i] = row(ends, i)
            info = {**info, "final_obs": final}
        else:
            first = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP else None
            seen = self.tracker.follow(actions, observation, first)
        self._ended = done
        return seen, reward, terminated, truncated, info


class BeliefVecEnv(_Named, VecEnvWrapper):  # type: ignore[misc]
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
        self.tracker = BeliefTracker(world, observation, world_hash, device)
        self.tracker.check(venv, venv.observation_space, venv.action_space)
        self._actions: Any = None
        actions = control_space(self.tracker.filter.model.config)
        super().__init__(venv, observation_space=self.tracker.space, action_space=actions)

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
        last = with_last(self.tracker, observation, dones, finals)
        seen, ends = self.tracker.follow_and_begin(self._actions, observation, dones, last)
        for i in places(dones):
            infos[i] = {**infos[i], "terminal_observation": row(ends, i)}
        return seen, rewards, dones, infos
