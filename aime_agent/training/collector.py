"""Collector: environments on one side, replay on the other.

Every environment is a *lane* that acts while the learner learns: `Collector.send` stores the rows
(o_t, r_t, a_t) and hands out the actions, `Collector.receive` takes what came back. Episode k of
lane i starts from a seed of its own, so the state of an open episode is its seed and its actions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent.data.replay import ReplayBuffer
from aime_agent.errors import CheckpointError, DataError
from aime_agent.training.seeding import episode_seed

Frame = UInt8[np.ndarray, "H W C"]
Action = Float32[np.ndarray, " A"]


_BROKEN = (BrokenPipeError, ConnectionResetError, EOFError)


class Arrival(NamedTuple):
    """What one step of one lane brought."""

    frame: Frame
    reward: float
    terminated: bool
    truncated: bool


class Finished(NamedTuple):
    """An episode that ended."""

    env: int
    episode: int
    total_reward: float
    length: int


@runtime_checkable
class Lane(Protocol):
    """One environment that steps in the background."""

    frame_shape: tuple[int, int, int]
    action_dim: int

    def reset(self, seed: int) -> Frame:
        """Starts an episode."""

    def send(self, action: Action) -> None:
        """Begins a step."""

    def receive(self) -> Arrival:
        """Ends the step."""

    def fast_forward(self, seed: int, actions: Float32[np.ndarray, "T A"]) -> Frame:
        """Starts an episode and repeats its actions without rendering."""

    def close(self) -> None:
        """Ends the environment."""


class VectorLane:
    """A Gymnasium vector environment of one, without autoreset, as a `Lane`.

    One vector environment per lane, because `VectorEnv.call` sends the same arguments to all and
    every lane has another episode to repeat after a restart.

    Raises:
        DataError: the observation is no uint8 image, or the action no flat Box.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        space: Any = envs.single_observation_space
        if isinstance(space, gymnasium.spaces.Dict) and "pixels" in space.spaces:
            space = space["pixels"]
        action: Any = envs.single_action_space
        if (
            not isinstance(space, gymnasium.spaces.Box)
            or space.dtype != np.uint8
            or len(space.shape) != 3
        ):
            raise DataError(
                f"observation: a uint8 Box [H, W, C] or a 'pixels' key required, found {space}"
            )
        if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
            raise DataError(f"action: a flat Box required, found {action}")
        self.frame_shape = (space.shape[0], space.shape[1], space.shape[2])
        self.action_dim = action.shape[0]
        self.state: np.ndarray | None = None
        """What the environment shows beside the last frame under the key ``state``."""
        self._envs: Any = envs  # VectorEnv declares neither call nor step_async
        self._blocking = isinstance(envs, SyncVectorEnv)
        self._action: Any = None

    def reset(self, seed: int) -> Frame:
        """Starts an episode."""
        with _process_alive():
            return self._pixels(self._envs.reset(seed=[seed])[0])

    def send(self, action: Action) -> None:
        """Begins a step in the environment's process."""
        if self._blocking:
            self._action = action[None]
            return
        with _process_alive():
            self._envs.step_async(action[None])

    def receive(self) -> Arrival:
        """Waits for the step."""
        with _process_alive():
            result = self._envs.step(self._action) if self._blocking else self._envs.step_wait()
        observation, rewards, terminated, truncated, _ = result
        return Arrival(
            self._pixels(observation), float(rewards[0]), bool(terminated[0]), bool(truncated[0])
        )

    def fast_forward(self, seed: int, actions: Float32[np.ndarray, "T A"]) -> Frame:
        """Starts an episode and repeats its actions; only the last frame is rendered."""
        frame = self.reset(seed)  # tells the wrappers that an episode is open
        if len(actions) == 0:
            return frame
        self._envs.call("fast_forward", seed, actions)
        return self._pixels(self._envs.call("current_observation"))

    def close(self) -> None:
        """Ends the environment's process, also where it has died."""
        try:
            self._envs.close()
        except _BROKEN:
            self._envs.close(terminate=True)

    def _pixels(self, observation: Any) -> Frame:
        """Takes the one environment's observation: arrays are stacked, results of calls tuples."""
        if isinstance(observation, dict):
            one: Any = {name: values[0] for name, values in observation.items()}
        else:
            one = observation[0]
        if not isinstance(one, dict):
            return np.asarray(one)
        self.state = np.asarray(one["state"]) if "state" in one else None
        return np.asarray(one["pixels"])


@contextmanager
def _process_alive() -> Iterator[None]:
    """Says what it means when the pipe to an environment's process breaks.

    Raises:
        DataError: the process has ended.
    """
    try:
        yield
    except _BROKEN as error:
        raise DataError(
            "an environment's process has ended by itself (killed by a signal to the whole group, "
            "or out of memory?); checkpoints are intact: go on with --resume"
        ) from error


class Collector:
    """Drives the lanes and fills the replay; everything it knows is in `state`.

    Args:
        lanes: The environments.
        replay: Where rows go.
        seed: Decides, with the environment's number, how each episode starts.
        first: Number of the first lane's environment, which is its stream in the replay too.
    """

    def __init__(
        self, lanes: Sequence[Lane], replay: ReplayBuffer, seed: int, first: int = 0
    ) -> None:
        self.lanes = lanes
        self.replay = replay
        self._seed = seed
        self._first = first
        n = len(lanes)
        self._frames = np.zeros((n, *lanes[0].frame_shape), dtype=np.uint8)
        self._rewards = np.zeros(n, dtype=np.float32)
        self._is_first = np.ones(n, dtype=bool)
        self._episodes = [0] * n
        self._returns = [0.0] * n
        self._actions: list[list[Action]] = [[] for _ in range(n)]

    @property
    def frames(self) -> UInt8[np.ndarray, "N H W C"]:
        """The observations that wait for an action."""
        return self._frames

    @property
    def is_first(self) -> Bool[np.ndarray, " N"]:
        """Which of them begin an episode."""
        return self._is_first

    def reset(self, episode: int = 0) -> None:
        """Starts the first episode of every lane, or the one of this number."""
        for i in range(len(self.lanes)):
            self._episodes[i] = episode
            self._begin_episode(i)

    def send(self, actions: Float32[np.ndarray, "N A"]) -> None:
        """Stores the waiting rows with their actions and begins the steps."""
        for i, lane in enumerate(self.lanes):
            action = np.array(actions[i])
            self._store(i, action, terminated=False)
            self._actions[i].append(action)
            lane.send(action)

    def receive(self) -> list[Finished]:
        """Waits for the steps; stores the last row of episodes that ended and begins the next."""
        finished = []
        for i, lane in enumerate(self.lanes):
            arrival = lane.receive()
            self._frames[i] = arrival.frame
            self._rewards[i] = arrival.reward
            self._is_first[i] = False
            self._returns[i] += arrival.reward
            if arrival.terminated or arrival.truncated:
                nothing = np.zeros(lane.action_dim, dtype=np.float32)
                self._store(i, nothing, terminated=arrival.terminated)
                length = len(self._actions[i])
                episode = Finished(self._first + i, self._episodes[i], self._returns[i], length)
                finished.append(episode)
                self._episodes[i] += 1
                self._begin_episode(i)
        return finished

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns counters as JSON values, and arrays as tensors."""
        tensors = {
            "frames": torch.from_numpy(self._frames.copy()),
            "rewards": torch.from_numpy(self._rewards.copy()),
            "is_first": torch.from_numpy(self._is_first.copy()),
        }
        for i, lane in enumerate(self.lanes):
            actions = np.asarray(self._actions[i], dtype=np.float32)
            tensors[f"actions.{i}"] = torch.from_numpy(actions.reshape(-1, lane.action_dim))
        return {"episodes": list(self._episodes), "returns": list(self._returns)}, tensors

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
        """Brings every lane to where it was; returns whether its frame is the same bit for bit.

        Raises:
            CheckpointError: the checkpoint has another number of environments.
        """
        if len(state["episodes"]) != len(self.lanes):
            raise CheckpointError(
                f"{len(self.lanes)} environments required, found {len(state['episodes'])}"
            )
        self._episodes = list(state["episodes"])
        self._returns = list(state["returns"])
        self._frames = tensors["frames"].numpy().copy()
        self._rewards = tensors["rewards"].numpy().copy()
        self._is_first = tensors["is_first"].numpy().copy()
        same = True
        for i, lane in enumerate(self.lanes):
            actions = tensors[f"actions.{i}"].numpy().copy()
            self._actions[i] = list(actions)
            frame = lane.fast_forward(self._episode_seed(i), actions)
            same &= np.array_equal(frame, self._frames[i])
        return same

    def close(self) -> None:
        """Ends all lanes."""
        for lane in self.lanes:
            lane.close()

    def _begin_episode(self, i: int) -> None:
        self._frames[i] = self.lanes[i].reset(self._episode_seed(i))
        self._rewards[i] = 0.0
        self._is_first[i] = True
        self._returns[i] = 0.0
        self._actions[i] = []

    def _store(self, i: int, action: Action, *, terminated: bool) -> None:
        self.replay.add(
            self._first + i,
            self._frames[i],
            action,
            float(self._rewards[i]),
            terminated,
            bool(self._is_first[i]),
        )

    def _episode_seed(self, i: int) -> int:
        return episode_seed(self._seed, self._first + i, self._episodes[i])
