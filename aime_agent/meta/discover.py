"""`discover`: finds the law of one task, says whether it is the true one, and writes it down."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aime_agent.configs import config_hash, to_dict
from aime_agent.data.files import write_json
from aime_agent.errors import ConfigError
from aime_agent.meta.proposers import (
    Proposer,
    RandomProposer,
    RiskSeekingConfig,
    RiskSeekingProposer,
)
from aime_agent.meta.search import Outcome, Progress, SearchConfig, search
from aime_agent.symbolic.equivalence import Algebra, How, Verdict, positive_variables, recognise
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.grammar import Grammar
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.score import Score, Scorer, nrmse
from aime_agent.symbolic.tasks import PhysicsTask
from aime_agent.symbolic.tree import Expression, infix
from aime_agent.training.evaluate import versions
from aime_agent.training.seeding import numpy_rng

METHODS = ("risk-seeking", "random")


@dataclass(frozen=True, kw_only=True)
class DiscoverConfig:
    """How a law is looked for.

    Args:
        method: ``risk-seeking`` policy search, or ``random`` search under the same rules.
        seed: Decides everything random: rows, proposals, starts of fits.
        units: Whether units must fit; None for wherever the task has some.
        noise: Whether the target is disturbed by the task's noise level.
        max_nodes: Largest law; None for the task's.
        search: How long.
        learning: How the policy learns.
    """

    method: str = "risk-seeking"
    seed: int = 0
    units: bool | None = None
    noise: bool = False
    max_nodes: int | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    learning: RiskSeekingConfig = field(default_factory=RiskSeekingConfig)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method must be one of {METHODS}, found {self.method!r}")


class Discovery(NamedTuple):
    """A found law, and what is known of it."""

    task: PhysicsTask
    config: DiscoverConfig
    outcome: Outcome
    verdict: Verdict | None
    """None where nobody knows the true law, or nothing was found."""
    simplified: str
    """The law in its simplest form; "" if there is none, or algebra took too long."""
    samples: Samples
    seconds: float

    @property
    def law(self) -> str:
        """The law as text; "" if there is none."""
        best = self.outcome.best
        return "" if best is None else infix(best.expression, self.task.names)

    @property
    def recovered(self) -> bool:
        """Whether the true law was found."""
        return self.verdict is not None and self.verdict.equal


def discover(
    task: PhysicsTask,
    config: DiscoverConfig | None = None,
    samples: Samples | None = None,
    watch: Callable[[Progress], bool] | None = None,
) -> Discovery:
    """Searches for the law of a task.

    The search ends early once the law fits its rows to `SUCCESS` and is recognised as the true one
    (or, where nobody knows that, once it fits).

    Args:
        task: What to find.
        config: How.
        samples: Rows to use instead of the task's own.
        watch: Told after each batch; True ends the search.
    """
    c = config or DiscoverConfig()
    begun = time.monotonic()
    if samples is None:
        samples = task.generate_data(noise=c.noise, rng=numpy_rng(c.seed, "rows"))
    grammar = task.grammar(c.units, c.max_nodes)
    scorer = Scorer(samples, grammar.max_nodes, numpy_rng(c.seed, "fits"))
    verdicts: dict[Expression, Verdict] = {}
    with Algebra() as algebra:

        def judge(law: Expression) -> Verdict | None:
            if task.law is not None and law not in verdicts:
                verdicts[law] = recognise(task, law, algebra)
            return verdicts.get(law)

        def accept(score: Score) -> bool:
            verdict = judge(score.expression)
            return verdict is None or verdict.equal

        outcome = search(proposer_of(grammar, c), scorer, c.search, accept, watch)
        verdict, simplified = None, None
        if outcome.best is not None:
            law = outcome.best.expression
            verdict = judge(law)
            simplified = algebra.simplified(law, positive_variables(task), task.names)
    seconds = time.monotonic() - begun
    return Discovery(task, c, outcome, verdict, simplified or "", samples, seconds)


def proposer_of(grammar: Grammar, config: DiscoverConfig) -> Proposer:
    """Returns who writes laws."""
    rng = numpy_rng(config.seed, "proposals")
    if config.method == "random":
        return RandomProposer(grammar, rng)
    return RiskSeekingProposer(grammar, rng, config.learning)


def report(found: Discovery) -> dict[str, Any]:
    """Returns everything as JSON values: law, errors, counts, settings, versions."""
    outcome, best, task = found.outcome, found.outcome.best, found.task
    how = None if found.verdict is None else found.verdict.how
    return {
        "task": task.name,
        "suite": task.suite,
        "true_law": task.law,
        "law": found.law,
        "simplified": found.simplified,
        "tokens": [] if best is None else list(best.expression.tokens),
        "constants": [] if best is None else list(best.expression.constants),
        "nodes": 0 if best is None else len(best.expression.tokens),
        "reward": None if best is None else best.reward,
        "nrmse": None if best is None or not np.isfinite(best.nrmse) else best.nrmse,
        "extrapolation_nrmse": None if best is None else extrapolation(task, best),
        "recovered": found.recovered,
        "how": None if how is None else how.value,
        "undecided": how is How.UNDECIDED,
        "evaluations": outcome.evaluations,
        "distinct": outcome.distinct,
        "fit_calls": outcome.fit_calls,
        "solved_at": outcome.solved_at,
        "interrupted": outcome.interrupted,
        "curve": [list(point) for point in outcome.curve],
        "seconds": round(found.seconds, 2),
        "seed": found.config.seed,
        "rows": len(found.samples.target),
        "config": to_dict(found.config),
        "config_hash": config_hash(found.config),
        "versions": versions()
        | {name: metadata.version(name) for name in ("scipy", "sympy", "aime-agent")},
    }


def save_report(found: Discovery, path: Path) -> Path:
    """Writes the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report(found))
    return path


def extrapolation(task: PhysicsTask, score: Score) -> float | None:
    """Returns the error on rows outside the ranges; None where it is not known or not finite."""
    if task.law is None:
        return None
    rows = task.generate_data(200, rng=np.random.default_rng(2), region="outside")
    law = score.expression
    error = nrmse(evaluate(law.tokens, rows.inputs, law.constants), rows.target)
    return error if np.isfinite(error) else None
