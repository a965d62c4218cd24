"""Statistics of scores over runs and tasks (Agarwal et al., 2021, arXiv:2108.13264).

    IQM(x)  = mean of x without its floor(n/4) smallest and floor(n/4) largest values
    P(X>Y)  = mean over tasks of (1 / nm) Σ_ij [x_i > y_j] + ½ [x_i = y_j]
    gap(x)  = mean of max(γ − x, 0)
    F(τ)    = share of scores above τ

Scores are normalised returns, one array per task; tasks may have different numbers of runs. The
bootstrap is stratified: it draws runs within each task and keeps the tasks.

>>> interquartile_mean(np.array([0.0, 1.0, 2.0, 99.0]))
array(1.5)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aime_agent.errors import ShapeError

Scores = Sequence[Float[np.ndarray, "..."]]
"""One flat array of scores per task."""
Statistic = Callable[[Float[np.ndarray, "*b N"]], Float[np.ndarray, "*b"]]
"""Summarises the last axis."""
AT_ONCE = 2**21
"""Numbers that a bootstrap holds in memory at a time."""


class Estimate(NamedTuple):
    """A statistic with its interval."""

    value: float
    low: float
    high: float


def interquartile_mean(x: Float[np.ndarray, "*b N"]) -> Float[np.ndarray, "*b"]:
    """Returns the mean of the middle half of the last axis."""
    cut = x.shape[-1] // 4
    return np.asarray(np.sort(x, axis=-1)[..., cut : x.shape[-1] - cut].mean(-1))


def optimality_gap(x: Float[np.ndarray, "*b N"], target: float = 1.0) -> Float[np.ndarray, "*b"]:
    """Returns by how much the scores miss ``target`` on average; what exceeds it does not help."""
    return np.asarray(np.maximum(target - x, 0.0).mean(-1))


def performance_profile(scores: Scores, thresholds: Float[np.ndarray, " n"]) -> np.ndarray:
    """Returns the share of scores above each threshold, all tasks weighing alike.

    >>> performance_profile([np.array([0.2, 0.8]), np.array([0.9])], np.array([0.0, 0.5]))
    array([1.  , 0.75])
    """
    above = [(task[:, None] > thresholds).mean(0) for task in checked(scores)]
    return np.asarray(np.mean(above, axis=0))


def improvement(x: Float[np.ndarray, "*b N"], y: Float[np.ndarray, "*b M"]) -> np.ndarray:
    """Returns P(X > Y) within one task over the last axes; a tie counts one half."""
    left, right = x[..., :, None], y[..., None, :]
    return np.asarray(((left > right) + 0.5 * (left == right)).mean((-2, -1)))


def bootstrap(
    scores: Scores,
    rng: np.random.Generator,
    statistic: Statistic = interquartile_mean,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Returns a statistic of all scores with its stratified percentile-bootstrap interval.

    Args:
        scores: One array of scores per task.
        rng: Where the draws come from; nothing is read from a global generator.
        statistic: Summary of all scores together.
        draws: 2,000 for a glance, 50,000 for a report.
        level: Coverage of the interval.

    Raises:
        ShapeError: there is no task, or a task without a run.
    """
    tasks = checked(scores)

    def resampled(count: int) -> np.ndarray:
        return statistic(np.concatenate([_redraw(x, rng, count) for x in tasks], axis=-1))

    size = sum(len(task) for task in tasks)
    values = _in_parts(resampled, draws, AT_ONCE // size)
    return _estimate(float(statistic(np.concatenate(tasks))), values, level)


def probability_of_improvement(
    x: Scores, y: Scores, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> Estimate:
    """Returns the mean over tasks of P(X > Y), with its stratified bootstrap interval.

    Args:
        x: Scores of one algorithm, one array per task.
        y: Scores of the other, the same tasks in the same order.
        rng: Where the draws come from.
        draws: See `bootstrap`.
        level: Coverage of the interval.

    Raises:
        ShapeError: the numbers of tasks differ, or a task has no run.
    """
    pairs = list(zip(checked(x), checked(y), strict=False))
    if len(x) != len(y):
        raise ShapeError(f"scores: the same tasks required on both sides, found {len(x)}, {len(y)}")

    def resampled(count: int) -> np.ndarray:
        both = [improvement(_redraw(a, rng, count), _redraw(b, rng, count)) for a, b in pairs]
        return np.asarray(np.mean(both, axis=0))

    size = max(len(a) * len(b) for a, b in pairs)
    values = _in_parts(resampled, draws, AT_ONCE // size)
    return _estimate(float(np.mean([improvement(a, b) for a, b in pairs])), values, level)


def checked(scores: Scores) -> list[np.ndarray]:
    """Returns the scores as flat float64 arrays.

    Raises:
        ShapeError: there is no task, or a task is not a non-empty list of runs.
    """
    tasks = [np.asarray(task, dtype=np.float64) for task in scores]
    shapes = [task.shape for task in tasks]
    if not tasks or any(len(shape) != 1 or shape[0] == 0 for shape in shapes):
        raise ShapeError(
            f"scores: one non-empty array of runs per task required, found shapes {shapes}"
        )
    return tasks


def _redraw(task: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    return np.asarray(task[rng.integers(len(task), size=(count, len(task)))])


def _in_parts(resampled: Callable[[int], np.ndarray], draws: int, most: int) -> np.ndarray:
    """Calls ``resampled`` for at most so many draws at a time."""
    most = max(most, 1)
    counts = [most] * (draws // most) + [draws % most]
    return np.concatenate([resampled(count) for count in counts if count])


def _estimate(value: float, values: np.ndarray, level: float) -> Estimate:
    tail = 50 * (1 - level)
    low, high = np.percentile(values, (tail, 100 - tail))
    return Estimate(value, float(low), float(high))
