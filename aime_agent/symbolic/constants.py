"""Numbers in a law: fitted to the data, and recognised where they are 1/2 or 4π².

Most laws are affine in their constants; then one linear least-squares problem has the answer. All
others go to `scipy.optimize.least_squares` from 1: a few steps and, where these promise something, more,
and two random starts.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.optimize import least_squares

from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.tree import Tokens
from aime_agent.symbolic.vocabulary import CONST

FIRST_CALLS, MAX_CALLS = 15, 50
"""Function values of the first non-linear fit, and of each one after it."""
_STARTS = 3
_AFFINE, _TIGHT = 1e-9, 1e-14
_GOOD, _HOPELESS = 1e-18, 0.25
"""Mean square errors, relative to the target's variance, between which further starts are tried."""
_ZERO, _LARGE_TOLERANCE = 1e-13, 1e-11
_LARGEST_DENOMINATOR, _SMALL_DENOMINATOR = 1000, 24


class Fit(NamedTuple):
    """Best constants, and how often the expression was evaluated."""

    constants: tuple[float, ...]
    calls: int


def fit_constants(tokens: Tokens, samples: Samples, rng: np.random.Generator) -> Fit:
    """Returns the least-squares constants of an expression; none where it has none.

    Where the expression is nowhere finite, the constants are 1 and the caller sees it at once.
    """
    count = tokens.count(CONST)
    if count == 0:
        return Fit((), 0)
    affine = _affine_fit(tokens, samples, count)
    if affine is not None:
        return affine
    best, least, calls = np.ones(count), np.inf, count + 3
    starts = [np.ones(count), None, *rng.normal(0.0, 3.0, (_STARTS - 1, count))]
    for k, start in enumerate(starts):
        begin = best if start is None else start
        if not np.isfinite(evaluate(tokens, samples.inputs, begin.tolist())).all():
            continue
        found = least_squares(
            lambda c: _residuals(tokens, samples, c), begin, method="trf",
            max_nfev=MAX_CALLS if k else FIRST_CALLS, ftol=_TIGHT, xtol=_TIGHT, gtol=_TIGHT,
        )  # fmt: skip
        calls += found.nfev + count * (found.njev or 0)
        if found.cost < least:
            best, least = found.x, found.cost
        # least_squares minimises half the sum of squares.
        error = 2 * least / (samples.target.var() * len(samples.target))
        if not _GOOD < error < _HOPELESS:
            break
    return Fit(tuple(best.tolist()), calls)


def _residuals(
    tokens: Tokens, samples: Samples, constants: Float64[np.ndarray, "K"]
) -> Float64[np.ndarray, "N"]:
    """Returns finite differences to the target, so that a solver never stops on a nan."""
    wrong = evaluate(tokens, samples.inputs, constants.tolist()) - samples.target
    return np.nan_to_num(wrong, nan=1e6, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6)


def _affine_fit(tokens: Tokens, samples: Samples, count: int) -> Fit | None:
    """Returns the exact solution if f(c) = f(0) + Σ c_k (f(e_k) − f(0)), else None."""
    points = np.vstack([np.zeros(count), np.eye(count), 1.5 + 0.7 * np.arange(count)])
    values = np.array([evaluate(tokens, samples.inputs, c.tolist()) for c in points])
    if not np.isfinite(values).all():
        return None
    slopes = values[1:-1] - values[0]
    predicted = values[0] + points[-1] @ slopes
    if np.abs(predicted - values[-1]).max() > _AFFINE * (1.0 + np.abs(values[-1]).max()):
        return None
    solution, *_ = np.linalg.lstsq(slopes.T, samples.target - values[0], rcond=None)
    return Fit(tuple(solution.tolist()), len(points))


class Exact(NamedTuple):
    """The number sign · (numerator / denominator · π^pi_power)^(1 or 1/2)."""

    numerator: int
    denominator: int
    pi_power: int = 0
    root: bool = False

    @property
    def value(self) -> float:
        """As a float."""
        size = abs(self.numerator) / self.denominator * math.pi**self.pi_power
        return math.copysign(math.sqrt(size) if self.root else size, self.numerator)


def snap(value: float, tolerance: float = 1e-9) -> Exact | None:
    """Returns the simple number that lies within a relative tolerance, None if there is none.

    Tried are fractions of a small denominator, these times π, 1/π, π², 1/π², square roots of these, and
    last, since there are many, fractions with a denominator up to 1000 within 10⁻¹¹.

    >>> snap(0.5), snap(39.47841760435743).pi_power, snap(2.34567891234)
    (Exact(numerator=1, denominator=2, pi_power=0, root=False), 2, None)
    """
    if not math.isfinite(value):
        return None
    if abs(value) < _ZERO:
        return Exact(0, 1)
    tries = [
        Exact(*_fraction(value / math.pi**power, _SMALL_DENOMINATOR), power)
        for power in (0, 1, -1, 2, -2)
    ]
    square = math.copysign(value * value, value)
    tries += [
        Exact(*_fraction(square / math.pi**power, _SMALL_DENOMINATOR), power, root=True)
        for power in (0, 1, -1)
    ]
    near = next((t for t in tries if _within(t, value, tolerance)), None)
    if near is not None:
        return near
    large = Exact(*_fraction(value, _LARGEST_DENOMINATOR))
    return large if _within(large, value, _LARGE_TOLERANCE) else None


def _within(exact: Exact, value: float, tolerance: float) -> bool:
    return abs(exact.value - value) <= tolerance * abs(value)


def _fraction(value: float, largest: int) -> tuple[int, int]:
    found = Fraction(value).limit_denominator(largest)
    return found.numerator, found.denominator
