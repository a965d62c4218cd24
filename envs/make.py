"""`make_env` and `make_vector`: one environment, or several side by side.

Vector environments run in processes started by forkserver or spawn. A fork of a process that has
rendered hangs at its first picture, and a fork is what Gymnasium starts by default; so it is not
on offer. One environment, too, runs in a process of its own, so that simulation and learning
overlap, and so that results do not depend on the number of environments. The processes do not import
the user's script, which therefore needs no ``if __name__ == "__main__":``.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import spawn
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import UnregisteredEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import Float

from aime_agent.envs import gl
from aime_agent.envs.foreign import adapt
from aime_agent.envs.suite import NAMESPACE, register_suite, task_id
from aime_agent.errors import ConfigError, RenderError

_START_METHODS = ("forkserver", "spawn")
_ONE_THREAD = {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_FOREIGN_SETTINGS = ("image_size", "action_repeat")


def environment_id(task: str) -> str:
    """Returns the Gymnasium id meant by ``task``.

    >>> environment_id("walker-walk"), environment_id("CartPole-v1")
    ('AIME/walker-walk-v0', 'CartPole-v1')
    """
    if "/" in task or ":" in task or task in gymnasium.registry:
        return task
    return task_id(task)


def make_env(task: str, **settings: Any) -> gymnasium.Env[Any, Any]:
    """Makes one environment in this process.

    Args:
        task: ``walker-walk``, ``AIME/walker-walk-v0``, or any Gymnasium id with pixels (then
            brought to the same form by `aime_agent.envs.adapt`).
        **settings: Of `DmControlConfig` and ``render_mode``; for a foreign id ``image_size`` and
            ``action_repeat`` are ours and the rest goes to the environment.

    Raises:
        ConfigError: Gymnasium knows no such id; the message names what it has instead.
    """
    register_suite()
    name = environment_id(task)
    if name.rpartition(":")[2].startswith(f"{NAMESPACE}/"):
        return _registered(name, settings)
    ours = {key: settings.pop(key) for key in _FOREIGN_SETTINGS if key in settings}
    return adapt(_registered(name, settings), **ours)


def make_vector(
    task: str,
    num_envs: int,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    context: str = "forkserver",
    start_timeout: float = 120.0,
    in_process: bool = False,
    **settings: Any,
) -> VectorEnv[Any, Any, Any]:
    """Makes ``num_envs`` environments, each in a process of its own.

    Args:
        task: As for `make_env`.
        num_envs: How many.
        autoreset_mode: Gymnasium's; ``SameStep`` puts the last observation of an episode into
            ``info["final_obs"]``.
        context: How processes start. ``fork`` is refused.
        start_timeout: Seconds until workers that do not answer are ended and an error is raised.
        in_process: All in this process, one after the other; for tests and debugging.
        **settings: As for `make_env`.
    """
    if num_envs < 1:
        raise ConfigError(f"num_envs must be at least 1, found {num_envs}")
    if context not in _START_METHODS:
        raise ConfigError(
            f"context must be one of {_START_METHODS}, found {context!r}: a forked process hangs "
            "at its first picture"
        )
    if in_process:
        builder = partial(make_env, task, **settings)
        return SyncVectorEnv([builder] * num_envs, autoreset_mode=autoreset_mode)
    builder = partial(_build_in_worker, task, settings, _foreign_spec(task))
    with _environment(_ONE_THREAD), _without_main():
        return _TimedVectorEnv(
            [builder] * num_envs,
            start_timeout=start_timeout,
            context=context,
            autoreset_mode=autoreset_mode,
        )


def fast_forward_vector(
    vector: VectorEnv[Any, Any, Any],
    seeds: Sequence[int],
    actions: Sequence[Any],
    episodes: Sequence[int] | None = None,
) -> tuple[tuple[Any, ...], list[Float[np.ndarray, "_"]]]:
    """Brings each part of a vector environment into the midst of its own episode.

    Args:
        vector: Made by `make_vector`.
        seeds: Per part, the seed its stream of episodes began with.
        actions: Per part, the actions of the open episode so far.
        episodes: Per part, the index of the open episode in its stream; 0 if None.

    Returns:
        The present observation of each part, and the rewards of each replay.
    """
    episodes = [0] * vector.num_envs if episodes is None else episodes
    counts = (len(seeds), len(actions), len(episodes))
    if counts != (vector.num_envs,) * 3:
        raise ConfigError(
            f"seeds, actions and episodes must have {vector.num_envs} entries, found {counts}"
        )
    requests = list(zip(seeds, actions, episodes, strict=True))
    vector.set_attr("replay_request", requests)  # type: ignore[attr-defined]
    rewards = list(vector.call("run_replay_request"))  # type: ignore[attr-defined]
    return tuple(vector.call("current_observation")), rewards  # type: ignore[attr-defined]


class _TimedVectorEnv(AsyncVectorEnv[Any, Any]):
    """Gymnasium's, but a worker that never starts is an error instead of a wait for ever."""

    def __init__(self, builders: Sequence[Any], *, start_timeout: float, **kwargs: Any) -> None:
        self._start_timeout = start_timeout
        super().__init__(builders, **kwargs)

    def _check_spaces(self) -> None:
        """Waits for every worker's first answer before Gymnasium waits without a limit."""
        deadline = time.monotonic() + self._start_timeout
        for pipe in self.parent_pipes:
            pipe.send(("_call", ("render_mode", [], {})))
        for index, pipe in enumerate(self.parent_pipes):
            if not pipe.poll(max(0.0, deadline - time.monotonic())):
                self._give_up(f"did not start within {self._start_timeout:g} s", index)
            try:
                pipe.recv()
            except EOFError:
                self._give_up("ended while starting; its error is printed above", index)
        super()._check_spaces()  # type: ignore[no-untyped-call]

    def _give_up(self, what: str, index: int) -> None:
        self.close(terminate=True)
        raise RenderError(
            f"environment process {index} {what}; in_process=True shows an error here"
        )


def _registered(name: str, settings: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        return gymnasium.make(name, **settings)
    except UnregisteredEnv as error:
        raise ConfigError(f"task {name!r} is unknown to Gymnasium: {error}") from error


def _build_in_worker(
    task: str, settings: dict[str, Any], spec: EnvSpec | None
) -> gymnasium.Env[Any, Any]:
    """Builds in a worker, whose environment variables a running fork server may have missed."""
    os.environ.update(_ONE_THREAD)
    gl.choose_backend()
    if spec is not None:
        gymnasium.registry.setdefault(spec.id, spec)
    return make_env(task, **settings)


def _foreign_spec(task: str) -> EnvSpec | None:
    """What the script may have registered itself: workers, which do not import it, need it sent."""
    name = environment_id(task)
    return None if name.startswith(f"{NAMESPACE}/") else gymnasium.registry.get(name)


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that this thread starts inside the block do not import the main module again.

    Nothing they run lies there, and a script without a guard would run a second time in each.
    """
    original, owner = spawn.get_preparation_data, threading.get_ident()

    def prepare(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() != owner:
            return data
        return {key: value for key, value in data.items() if not key.startswith("init_main")}

    spawn.get_preparation_data = prepare
    try:
        yield
    finally:
        spawn.get_preparation_data = original


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for processes started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
