"""Is the law that was found the true one? By algebra, in a process with a time limit.

First both laws are compared at random points with 50 digits, which refutes quickly; then their
difference is simplified, which proves. What can neither be refuted nor proved in time counts as
equal and is marked so. Constants that are no simple numbers are compared as numbers, within a
tolerance, on points inside and outside the data's range.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from aime_agent.errors import AimeError, ConfigError
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.tasks import PhysicsTask
from aime_agent.symbolic.tree import Expression

TIME_LIMIT, START_LIMIT = 30.0, 120.0
"""Seconds of the clock for a question, and for SymPy to be imported, on a busy machine."""
CONSTANT_TOLERANCE = 1e-6
WORKER = ("-m", "aime_agent.symbolic.sympy_worker")
_POINTS, _CHECKED = 6, 64


class AlgebraError(AimeError, RuntimeError):
    """The process that does algebra cannot be started."""


class How(Enum):
    """By what a verdict was reached."""

    ALGEBRA = "the difference simplifies to 0"
    DIGITS = "equal to 50 digits at random points"
    NUMBERS = "equal within the tolerance of fitted constants"
    REFUTED = "different at a point"
    UNDECIDED = "no answer within the time limit"


class Verdict(NamedTuple):
    """Whether two laws are the same function, and how this is known."""

    equal: bool
    how: How


class Algebra:
    """A process that simplifies; use as a context, or `close` it.

    Args:
        time_limit: Seconds that one question may take; then the process is killed, and the next
            question starts another.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        if time_limit <= 0:
            raise ConfigError(f"time_limit must be positive, found {time_limit}")
        self._limit = time_limit
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Algebra":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        while self._running:
            worker = self._running.pop()
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()

    def equal(self, a: Expression, b: Expression, positive: Sequence[bool]) -> Verdict:
        """Compares two laws that agree as numbers; more cannot be said if some are not simple.

        Args:
            a: One law.
            b: The other.
            positive: For each variable, whether it is known to be positive.
        """
        rng = np.random.default_rng(0)
        low = np.where(positive, 0.25, -2.0)
        points = rng.uniform(low, 2.0, (_POINTS, len(positive))).round(6)
        laws = {"a": _data(a), "b": _data(b), "positive": list(positive)}
        written = [[f"{x:.6f}" for x in point] for point in points]
        first = self._ask(verb="differ", points=written, **laws)
        if first is None:
            return Verdict(False, How.UNDECIDED)
        if not first["exact"]:
            return Verdict(True, How.NUMBERS)
        if first["differ"]:
            return Verdict(False, How.REFUTED)
        second = self._ask(verb="prove", **laws)
        proved = second is not None and second["proved"]
        return Verdict(True, How.ALGEBRA if proved else How.DIGITS)

    def simplified(
        self, law: Expression, positive: Sequence[bool], names: Sequence[str] | None = None
    ) -> str | None:
        """Returns the law in SymPy's simplest form; None if that takes too long."""
        question = {"a": _data(law), "positive": list(positive)}
        reply = self._ask(verb="simplify", names=None if names is None else list(names), **question)
        return None if reply is None else str(reply["text"])

    def _ask(self, **question: Any) -> dict[str, Any] | None:
        """Sends a question and waits for its answer; None if there is none in time."""
        worker = self._worker()
        if worker.stdin is None or worker.stdout is None:
            raise AlgebraError("the process for algebra has no pipes")
        worker.stdin.write(json.dumps(question).encode() + b"\n")
        worker.stdin.flush()
        if not _ready(worker.stdout.fileno(), self._limit):
            self.close()
            return None
        reply = json.loads(worker.stdout.readline() or b'{"trouble": "the process ended"}')
        return None if "trouble" in reply else reply

    def _worker(self) -> "subprocess.Popen[bytes]":
        if self._running and self._running[0].poll() is not None:
            self.close()
        if not self._running:
            home = str(Path(__file__).parents[2])
            paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
            worker = subprocess.Popen(
                [sys.executable, *WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": paths},
            )
            self._running.append(worker)
            if worker.stdout is None or not _ready(worker.stdout.fileno(), START_LIMIT):
                self.close()
                raise AlgebraError(f"the process for algebra did not start in {START_LIMIT:g} s")
            worker.stdout.readline()
        return self._running[0]


def recognise(task: PhysicsTask, found: Expression, algebra: Algebra) -> Verdict:
    """Says whether a found law is the task's true law.

    Raises:
        ConfigError: nobody knows the task's law.
    """
    truth = task.expression
    if truth is None:
        raise ConfigError(f"task {task.name!r} has no law to compare with")
    if not _close(task, truth, found):
        return Verdict(False, How.REFUTED)
    return algebra.equal(truth, found, positive_variables(task))


def positive_variables(task: PhysicsTask) -> list[bool]:
    """Returns for each variable whether its range lies above 0."""
    return [variable.low >= 0.0 for variable in task.inputs]


def _close(task: PhysicsTask, truth: Expression, found: Expression) -> bool:
    """Whether both laws agree on new rows within the tolerance, inside and outside the ranges."""
    rng = np.random.default_rng(1)
    for region in ("inside", "outside"):
        rows = task.generate_data(_CHECKED, rng=rng, region=region).inputs
        expected, values = (evaluate(law.tokens, rows, law.constants) for law in (truth, found))
        with np.errstate(all="ignore"):
            gap = np.abs(values - expected)
        if not (gap <= CONSTANT_TOLERANCE * (1.0 + np.abs(expected))).all():
            return False
    return True


def _ready(descriptor: int, seconds: float) -> bool:
    """Waits until a pipe has something to read."""
    ready, _, _ = select.select([descriptor], [], [], seconds)
    return bool(ready)


def _data(law: Expression) -> dict[str, Any]:
    return {"tokens": list(law.tokens), "constants": list(law.constants)}
