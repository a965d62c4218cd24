"""How good a law is: error relative to the target's spread, and a reward between 0 and 1.

NRMSE  = sqrt(mean (f(x) − y)²) / std(y)
reward = max(0, 1 / (1 + NRMSE) − λ · nodes / max_nodes),   0 where f is not finite
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from aime_agent.errors import ConfigError
from aime_agent.symbolic.constants import fit_constants
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.tree import Expression, Tokens

COMPLEXITY_COST = 0.01
"""λ: what the longest law loses."""
SUCCESS = 1e-6
"""NRMSE on noiseless data below which a law counts as fitting; its square is the usual 1e-12."""
_LARGEST = 1e12


class Score(NamedTuple):
    """A law with its fitted constants, and what it is worth."""

    expression: Expression
    nrmse: float
    reward: float
    calls: int
    """Evaluations that fitting its constants took."""


def nrmse(predicted: Float64[np.ndarray, "N"], target: Float64[np.ndarray, "N"]) -> float:
    """Returns the root mean square error over the target's standard deviation; inf if not finite.

    >>> nrmse(np.array([1.0, 1.0]), np.array([0.0, 2.0]))
    1.0
    """
    if not np.abs(predicted).max() < _LARGEST:  # nan compares False
        return np.inf
    return float(np.sqrt(np.mean((predicted - target) ** 2)) / target.std())


def reward_of(error: float, nodes: int, max_nodes: int, cost: float = COMPLEXITY_COST) -> float:
    """Returns the reward of a law with this error and size.

    >>> reward_of(0.0, 10, 20), reward_of(1.0, 10, 20), reward_of(np.inf, 10, 20)
    (0.995, 0.495, 0.0)
    """
    return max(0.0, 1.0 / (1.0 + error) - cost * nodes / max_nodes)


class Scorer:
    """Scores laws on one set of rows, each law once.

    Args:
        samples: The rows.
        max_nodes: Size that costs the whole complexity penalty.
        rng: For the starts of non-linear fits.
        complexity_cost: λ.
    """

    def __init__(
        self,
        samples: Samples,
        max_nodes: int,
        rng: np.random.Generator,
        complexity_cost: float = COMPLEXITY_COST,
    ) -> None:
        if not 0.0 <= complexity_cost < 1.0:
            raise ConfigError(f"complexity_cost must lie in [0, 1), found {complexity_cost}")
        self.samples = samples
        self._max_nodes = max_nodes
        self._rng = rng
        self._cost = complexity_cost
        self._scores: dict[Tokens, Score] = {}

    def __call__(self, tokens: Tokens) -> Score:
        """Returns the score of a complete expression; its constants are fitted."""
        if tokens not in self._scores:
            self._scores[tokens] = self._scored(tokens)
        return self._scores[tokens]

    @property
    def distinct(self) -> int:
        """How many different laws have been scored."""
        return len(self._scores)

    def _scored(self, tokens: Tokens) -> Score:
        fit = fit_constants(tokens, self.samples, self._rng)
        predicted = evaluate(tokens, self.samples.inputs, fit.constants)
        error = nrmse(predicted, self.samples.target)
        reward = reward_of(error, len(tokens), self._max_nodes, self._cost)
        return Score(Expression(tokens, fit.constants), error, reward, fit.calls)
