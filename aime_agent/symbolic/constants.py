"""Numbers in a law: fitted to the data, and recognised where they are 1/2 or 4π².

Most laws are affine in their constants; then one linear least-squares problem has the answer. All
others go to `scipy.optimize.least_squares` from 1 and from two random starts.
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

MAX_CALLS = 50
"""Function values per start of the non-linear fit."""
_STARTS = 3
_AFFINE = 1e-9
_GOOD = 1e-18
"""Mean square error, relative to the target's variance, at which no further start is tried."""
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
    for start in [np.ones(count), *rng.normal(0.0, 3.0, (_STARTS - 1, count))]:
        if not np.isfinite(evaluate(tokens, samples.inputs, start.tolist())).all():
            continue
        found = least_squares(
            lambda c: _residuals(tokens, samples, c), start, method="trf", max_nfev=MAX_CALLS
        )
        calls += found.nfev + count * (found.njev or 0)
        if found.cost < least:
            best, least = found.x, found.cost
        if least <= _GOOD * samples.target.var() * len(samples.target):
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

    Tried are fractions with a denominator up to 1000, small fractions times π, 1/π, π², 1/π², and the
    square roots of small fractions times these.

    >>> snap(0.5), snap(39.47841760435743).pi_power, snap(2.34567891234)
    (Exact(numerator=1, denominator=2, pi_power=0, root=False), 2, None)
    """
    if not math.isfinite(value) or value == 0.0:
        return Exact(0, 1) if value == 0.0 else None
    tries = [Exact(*_fraction(value, _LARGEST_DENOMINATOR))]
    tries += [
        Exact(*_fraction(value / math.pi**power, _SMALL_DENOMINATOR), power)
        for power in (1, -1, 2, -2)
    ]
    square = math.copysign(value * value, value)
    tries += [
        Exact(*_fraction(square / math.pi**power, _SMALL_DENOMINATOR), power, root=True)
        for power in (0, 1, -1)
    ]
    return next((t for t in tries if abs(t.value - value) <= tolerance * abs(value)), None)


def _fraction(value: float, largest: int) -> tuple[int, int]:
    found = Fraction(value).limit_denominator(largest)
    return found.numerator, found.denominator
