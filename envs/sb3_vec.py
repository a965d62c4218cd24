"""Any Gymnasium `VectorEnv` as the `VecEnv` that Stable-Baselines3 trains in.

    SB3 at an episode's end     observation = first of the next episode
                                infos[i]["terminal_observation"], ["TimeLimit.truncated"]
    autoreset SAME_STEP         the same: final_obs, final_info
    autoreset DISABLED          what ended is reset here, by options["reset_mask"]
    autoreset NEXT_STEP         refused: the next step's action would be thrown away

``infos`` are one dictionary per environment, as SB3 wants them. Wrap the result in SB3's
`VecMonitor` for returns and lengths of episodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv

from aime_agent.errors import ConfigError

Indices = int | Iterable[int] | None
Observations = np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...]
_FINAL = ("final_obs", "final_info")
_MANY = (SyncVectorEnv, AsyncVectorEnv)
"""Vector environments made of single ones; others are one object."""
_SPACES = (
    spaces.Box, spaces.Dict, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary
)  # fmt: skip


class VectorToSB3(VecEnv):  # type: ignore[misc]
    """Steps a Gymnasium vector environment for Stable-Baselines3.

    Args:
        vector: With the autoreset mode ``SameStep`` or ``Disabled``.

    Raises:
        ConfigError: it is no `VectorEnv`, or resets in the next step.
    """

    def __init__(self, vector: Any) -> None:
        if not isinstance(vector, VectorEnv):
            raise ConfigError(
                f"vector: a gymnasium.vector.VectorEnv required, found {type(vector).__name__}; "
                "SB3 takes single environments itself"
            )
        self.vector = vector
        self._inner: Any = vector.unwrapped
        self.autoreset_mode = _autoreset_mode(vector)
        self._actions: Any = None
        super().__init__(
            vector.num_envs, vector.single_observation_space, vector.single_action_space
        )

    # ------------------------------------------------------------------ stepping

    def reset(self) -> Observations:
        """Resets all environments, with the seeds and options that `seed` and `set_options` left."""
        seeds = None if all(s is None for s in self._seeds) else list(self._seeds)
        observations, infos = self.vector.reset(seed=seeds, options=self._common_options())  # type: ignore[arg-type]
        self.reset_infos = info_list(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return _copied(observations)

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps all environments; those that end begin their next episode."""
        observations, rewards, terminated, truncated, infos = self.vector.step(self._actions)
        done = np.asarray(terminated) | np.asarray(truncated)
        rows = info_list(infos, self.num_envs)
        if done.any() and self.autoreset_mode == AutoresetMode.DISABLED:
            last = _copied(observations)
            observations, after = self.vector.reset(options={"reset_mask": done.copy()})
            fresh = info_list(after, self.num_envs)
        else:
            last, fresh = infos.get("final_obs"), rows
            rows = [_before_reset(row) if done[i] else row for i, row in enumerate(rows)]
        for i, row in enumerate(rows):
            row["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            if done[i]:
                row["terminal_observation"] = _row(last, i)
                self.reset_infos[i] = {k: v for k, v in fresh[i].items() if k not in _FINAL}
        return _copied(observations), np.asarray(rewards, np.float32).copy(), done, rows

    def close(self) -> None:
        """Closes the vector environment."""
        self.vector.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Returns a picture of each environment."""
        pictures: Any = self.vector.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    # ------------------------------------------------------------------ attributes

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Returns an attribute of each environment; of the vector environment if it is one object."""
        if isinstance(self._inner, _MANY):
            values = list(self._inner.get_attr(attr_name))
        else:
            values = [getattr(self.vector, attr_name)] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Sets an attribute in each environment.

        Raises:
            ConfigError: the environments are one object, and only some were named.
        """
        chosen = list(self._get_indices(indices))
        if isinstance(self._inner, _MANY):
            some = len(chosen) < self.num_envs
            values = list(self._inner.get_attr(attr_name)) if some else [value] * self.num_envs
            for i in chosen:
                values[i] = value
            self._inner.set_attr(attr_name, values)
            return
        self._require_all(chosen, "set_attr")
        setattr(self.vector, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of each environment.

        Raises:
            ConfigError: only some were named, and they are not objects in this process.
        """
        chosen = list(self._get_indices(indices))
        if singles := self._singles():
            methods = [singles[i].get_wrapper_attr(method_name) for i in chosen]
            return [method(*method_args, **method_kwargs) for method in methods]
        self._require_all(chosen, "env_method")
        if isinstance(self._inner, _MANY):
            return list(self._inner.call(method_name, *method_args, **method_kwargs))
        result = getattr(self.vector, method_name)(*method_args, **method_kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Returns where an environment of this process is wrapped so; False where nobody can look."""
        singles = self._singles()
        chosen = self._get_indices(indices)
        return [bool(singles) and is_wrapped(singles[i], wrapper_class) for i in chosen]

    def _singles(self) -> list[gym.Env[Any, Any]]:
        """The environments themselves, where they live in this process."""
        return list(getattr(self._inner, "envs", []))

    def _require_all(self, chosen: list[int], what: str) -> None:
        if sorted(chosen) != list(range(self.num_envs)):
            raise ConfigError(
                f"{what}: all {self.num_envs} environments at once required, found {chosen}: "
                f"{type(self._inner).__name__} does not reach them one by one"
            )

    def _common_options(self) -> dict[str, Any] | None:
        """The options of `reset`, which a vector environment has once for all.

        Raises:
            ConfigError: they differ from environment to environment.
        """
        first = self._options[0]
        if any(options != first for options in self._options):
            raise ConfigError(
                "set_options: one dictionary for all environments required, found different ones; "
                "a Gymnasium vector environment takes no options per environment"
            )
        return first or None


def info_list(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Splits the infos of a vector environment into one dictionary per environment.

    A key is left out where its mask ``_key`` says that an environment did not give it.

    >>> info_list({"a": np.array([1.5, 0.0]), "_a": np.array([True, False])}, 2)
    [{'a': np.float64(1.5)}, {}]
    """
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        given = infos.get(f"_{key}", np.ones(num_envs, dtype=bool))
        parts = info_list(value, num_envs) if isinstance(value, Mapping) else value
        for i in np.flatnonzero(given):
            rows[i][key] = parts[i]
    return rows


def _before_reset(row: dict[str, Any]) -> dict[str, Any]:
    """The info of the step that ended an episode, out of the one that a reset has overwritten."""
    return dict(row.get("final_info") or {})


def _row(observations: Any, i: int) -> Any:
    """One environment's observation: out of a batch, or out of an object array of single ones."""
    if isinstance(observations, Mapping):
        return {key: np.array(value[i]) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(np.array(value[i]) for value in observations)
    value = observations[i]
    return _copied(value) if isinstance(value, Mapping | tuple) else np.array(value)


def _copied(observations: Any) -> Any:
    """A copy, since a vector environment may write the next step into the same memory."""
    if isinstance(observations, Mapping):
        return {key: np.array(value) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(np.array(value) for value in observations)
    return np.array(observations)


def _autoreset_mode(vector: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Returns the autoreset mode, if SB3's way of resetting can be made of it."""
    named = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    mode = named if isinstance(named, AutoresetMode) else AutoresetMode(named)
    if mode == AutoresetMode.NEXT_STEP:
        raise ConfigError(
            "vector: autoreset mode SameStep or Disabled required, found NextStep, which throws away "
            "the action after an episode's end; make it with "
            "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP"
        )
    if not isinstance(vector.single_observation_space, _SPACES):
        raise ConfigError(
            "vector: observations that SB3 takes (Box, Dict, Discrete, MultiDiscrete, MultiBinary) "
            f"required, found {vector.single_observation_space}"
        )
    return mode
