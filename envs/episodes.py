"""One seed per episode, and the replay of an unfinished one.

An environment that was reset with seed s runs episode 0 with s itself (so it equals dm_control
with ``random=s``) and episode k ≥ 1 with the first word of ``SeedSequence((s, k))``: which
episode is played depends on (s, k) alone, never on how many random numbers earlier ones drew.

>>> seeds = EpisodeSeeds()
>>> seeds.start(7)
>>> seeds.next(), seeds.episode
(7, 0)
>>> first = seeds.next()
>>> seeds.start(7, episode=1)
>>> seeds.next() == first
True
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from aime_agent.errors import ConfigError, DataError

_WORD = 2**32


def task_option(options: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the options of a reset that knows none but ``task``.

    >>> task_option(None)
    {}
    """
    options = options or {}
    if unknown := sorted(set(options) - {"task"}):
        raise ConfigError(f"reset takes the option 'task', found {unknown}")
    return options


class EpisodeSeeds:
    """Counts episodes and derives the seed of each."""

    def __init__(self) -> None:
        self.base: int | None = None
        self.episode = -1

    def start(self, seed: int, episode: int = 0) -> None:
        """Makes ``episode`` of the stream ``seed`` the next one."""
        self.base, self.episode = int(seed), int(episode) - 1

    def next(self) -> int:
        """Moves on to the next episode and returns its seed, below 2³²."""
        if self.base is None:
            raise DataError("EpisodeSeeds.start must come before next")
        self.episode += 1
        if self.episode == 0 and self.base < _WORD:
            return self.base
        sequence = np.random.SeedSequence((self.base, self.episode))
        return int(sequence.generate_state(1)[0])


class Replayable(ABC):
    """Lets a vector environment hand each of its parts another replay.

    ``call`` gives all parts the same arguments; ``set_attr`` does not. So the request is set
    first and run afterwards (`aime_agent.envs.make.fast_forward_vector`).
    """

    replay_request: tuple[int, Any, int] | None = None

    @abstractmethod
    def fast_forward(
        self, seed: int, actions: Sequence[Any] | np.ndarray, episode: int = 0
    ) -> Float[np.ndarray, "steps"]:
        """Resets to ``episode`` of the stream ``seed`` and repeats its actions.

        Returns:
            The reward of each action.
        """

    def run_replay_request(self) -> Float[np.ndarray, "steps"]:
        """Runs the replay that was stored in ``replay_request``."""
        if self.replay_request is None:
            raise DataError("set replay_request to (seed, actions, episode) first")
        seed, actions, episode = self.replay_request
        self.replay_request = None
        return self.fast_forward(seed, actions, episode)
