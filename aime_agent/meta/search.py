"""The loop of every search: propose, score, learn, until the law is found or the count is used up.

An *evaluation* is one proposed law, whether it was proposed before or not; calls that fitting
constants takes are counted beside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aime_agent.errors import ConfigError
from aime_agent.meta.proposers import Proposer
from aime_agent.symbolic.score import SUCCESS, Score, Scorer


class Progress(NamedTuple):
    """Where a search stands."""

    evaluations: int
    best: Score | None


class Outcome(NamedTuple):
    """What a search found."""

    best: Score | None
    """None if nothing had been proposed when it was interrupted."""
    evaluations: int
    distinct: int
    """Different laws among them."""
    fit_calls: int
    """Evaluations that fitting constants took."""
    solved_at: int | None
    """Evaluations until the law was found and accepted."""
    curve: tuple[tuple[int, float], ...]
    """(evaluations, best reward) at each improvement."""
    interrupted: bool


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search.

    Args:
        evaluations: Most laws that are proposed.
        batch_size: Laws between two steps of learning.
    """

    evaluations: int = 20_000
    batch_size: int = 500

    def __post_init__(self) -> None:
        for name in ("evaluations", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")


def search(
    proposer: Proposer,
    scorer: Scorer,
    config: SearchConfig,
    accept: Callable[[Score], bool],
    watch: Callable[[Progress], bool] | None = None,
) -> Outcome:
    """Searches until a law that fits is accepted.

    Args:
        proposer: Who writes laws.
        scorer: What they are worth.
        config: How long.
        accept: Asked once for each different law whose error is below `SUCCESS`.
        watch: Told after each batch; True ends the search.
    """
    best: Score | None = None
    curve: list[tuple[int, float]] = []
    asked: set[tuple[int, ...]] = set()
    seen: set[tuple[int, ...]] = set()
    done, calls, solved, stop = 0, 0, None, False
    while done < config.evaluations and solved is None and not stop:
        laws = proposer.propose(min(config.batch_size, config.evaluations - done))
        scores = [scorer(law) for law in laws]
        for offset, score in enumerate(scores):
            law = score.expression.tokens
            calls += score.calls if law not in seen else 0
            seen.add(law)
            if solved is None and (best is None or score.reward > best.reward):
                best = score
                curve.append((done + offset + 1, score.reward))
            if solved is None and score.nrmse < SUCCESS and law not in asked:
                asked.add(law)
                if accept(score):
                    best, solved = score, done + offset + 1
        done += len(laws)
        proposer.learn(np.array([score.reward for score in scores]))
        stop = watch is not None and watch(Progress(done, best))
    used = done if solved is None else solved
    return Outcome(best, used, len(seen), calls, solved, tuple(curve), stop and solved is None)
