"""Update by update: what training beside an environment and training from a dataset share.

Everything that an update does depends on (seed, number of the update) and on the stored rows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from aime_agent.structs import Batch
from aime_agent.training.averages import Averages
from aime_agent.training.config import RunConfig
from aime_agent.training.loggers import Logger
from aime_agent.training.seeding import numpy_rng

_BEGIN_FRAMES = 512


@runtime_checkable
class Source(Protocol):
    """Stored rows: a replay, or the training episodes of a dataset."""

    def sample(self, batch_size: int, length: int, rng: np.random.Generator) -> Batch:
        """Draws windows."""

    def frames(self, count: int, rng: np.random.Generator) -> UInt8[Tensor, "N C H W"]:
        """Draws single frames."""


class Learning:
    """Counts, samples, learns, averages and reports.

    Args:
        config: Settings of the run.
        agent: Has ``begin`` and ``images``.
        update: Learns from a batch, given the number of the update; returns metrics.
        source: Where batches come from.
        loggers: Where pictures and histograms go.
        log: Takes a kind and the means of scalars.
    """

    def __init__(
        self,
        config: RunConfig,
        agent: Any,
        update: Callable[[Batch, int], Mapping[str, float | Tensor]],
        source: Source,
        loggers: Sequence[Logger],
        log: Callable[[str, Mapping[str, float]], None],
    ) -> None:
        self.config = config
        self.agent = agent
        self.updates = 0
        self._learn = update
        self._source = source
        self._loggers = loggers
        self._log = log
        self._begun = False
        self._averages = Averages()

    def update(self) -> None:
        """Does one update; before the first, fits what depends on data."""
        c = self.config
        if not self._begun:
            self.agent.begin(self._source.frames(_BEGIN_FRAMES, numpy_rng(c.seed, "begin")))
            self._begun = True
        batch = self._source.sample(
            c.batch_size, c.sequence_length, numpy_rng(c.seed, "replay", self.updates)
        )
        batch = Batch(*(x.to(c.device) for x in batch))
        metrics = self._learn(batch, self.updates)
        self.updates += 1
        self._averages.add({k: v for k, v in metrics.items() if not _is_histogram(v)})
        if self.updates % c.log_every == 0:
            self._log("train", self._averages.take())
            shown = {k: v for k, v in metrics.items() if isinstance(v, Tensor) and v.ndim > 0}
            for logger in self._loggers:
                logger.histograms(self.updates, shown)
        if c.tensorboard and c.image_every and self.updates % c.image_every == 0:
            self._show(batch)

    def state(self) -> dict[str, Any]:
        """Returns counters and sums as JSON values."""
        averages = self._averages.state()
        return {"updates": self.updates, "begun": self._begun, "averages": averages}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.updates = state["updates"]
        self._begun = state["begun"]
        self._averages = Averages(state["averages"])

    def _show(self, batch: Batch) -> None:
        with torch.random.fork_rng(devices=[]):
            images = self.agent.images(batch)
        for logger in self._loggers:
            logger.pictures(self.updates, images)


class Clock:
    """Seconds of work, interruptions of the run left out."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self._elapsed = elapsed
        self._mark = time.monotonic()

    def start(self) -> None:
        """Leaves out what passed since the last reading."""
        self._mark = time.monotonic()

    def seconds(self) -> float:
        """Returns the seconds so far."""
        now = time.monotonic()
        self._elapsed += now - self._mark
        self._mark = now
        return self._elapsed


def passed(before: int, now: int, every: int) -> bool:
    """Says whether a counter passed a multiple of ``every`` (never if that is 0).

    >>> passed(8, 10, 5), passed(10, 14, 5), passed(0, 9, 0)
    (True, False, False)
    """
    return every > 0 and now // every > before // every


def _is_histogram(value: float | Tensor) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0
