"""`PhysicsTask`: a law to be found, the variables that it may read, and rows drawn from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from aime_agent.errors import ConfigError, DataError
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.grammar import Grammar
from aime_agent.symbolic.parse import parse, reserved_names
from aime_agent.symbolic.samples import Samples, check_samples
from aime_agent.symbolic.tree import Expression
from aime_agent.symbolic.units import Unit, format_unit, parse_unit, unit_of
from aime_agent.symbolic.vocabulary import MAX_VARIABLES, PHYSICS, library_ids

_TRIES = 100
"""Times that rows where the law is not defined are drawn anew."""


class Variable(NamedTuple):
    """An input: where it is drawn from (uniformly), and its unit."""

    name: str
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class PhysicsTask:
    """One law.

    Args:
        name: Unique in its suite.
        law: What is to be found, as text; None where nobody knows (then there is ``data``).
        inputs: The variables, in the order x0, x1, ...; some may be distractors.
        target: Name of what the law gives.
        unit: Its unit.
        use_units: Whether the variables have units that a law must respect.
        library: Tokens that a law may be written with; ``const`` for fitted numbers.
        max_constants: Most of these in a law.
        max_nodes: Largest law that is considered.
        rows: How many rows a search sees.
        difficulty: 0 (easy) to 1.
        domain: Field of physics, for families of tasks.
        suite: Where it belongs.
        noise_level: Standard deviation of the noise on the target, relative to the target's spread,
            where noise is asked for.
        symmetries: What leaves the law unchanged.
        conserved_quantities: What the law says to be constant.
        data: Measured rows instead of drawn ones.

    Raises:
        ConfigError: there are no variables or too many, names are taken twice, a range is empty,
            the law is no formula of its library, or its unit is not the target's.
    """

    name: str
    law: str | None
    inputs: tuple[Variable, ...]
    target: str
    unit: str = ""
    use_units: bool = False
    library: tuple[str, ...] = PHYSICS
    max_constants: int = 0
    max_nodes: int = 30
    rows: int = 100
    difficulty: float = 0.5
    domain: str = "mathematics"
    suite: str = "own"
    noise_level: float = 0.01
    description: str = ""
    symmetries: tuple[str, ...] = ()
    conserved_quantities: tuple[str, ...] = ()
    data: Samples | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_variables()
        library_ids(self.library)
        if self.law is None and self.data is None:
            raise ConfigError(f"task {self.name!r} needs a law or data")
        if self.data is not None:
            check_samples(self.data, self.names, self.target)
        if self.use_units and self.expression is not None:
            found = unit_of(self.expression.tokens, self.input_units)
            if found != parse_unit(self.unit):
                what = "no unit that fits" if found is None else f"unit {format_unit(found)}"
                raise ConfigError(
                    f"task {self.name!r}: its law {self.law!r} has {what}, but the target "
                    f"{self.target!r} has unit {self.unit or '1'}"
                )

    @property
    def names(self) -> list[str]:
        """Names of the inputs."""
        return [variable.name for variable in self.inputs]

    @property
    def variables(self) -> list[str]:
        """Names of the inputs, then of the target."""
        return [*self.names, self.target]

    @property
    def variable_ranges(self) -> dict[str, tuple[float, float]]:
        """Where each input is drawn from."""
        return {v.name: (v.low, v.high) for v in self.inputs}

    @property
    def true_law(self) -> str | None:
        """The law as text."""
        return self.law

    @property
    def input_units(self) -> list[Unit]:
        """Units of the inputs."""
        return [parse_unit(variable.unit) for variable in self.inputs]

    @cached_property
    def expression(self) -> Expression | None:
        """The law as tokens of the library."""
        return None if self.law is None else parse(self.law, self.names, self.library)

    def grammar(self, units: bool | None = None, max_nodes: int | None = None) -> Grammar:
        """Returns the rules for this task.

        Args:
            units: Whether units must fit; None for wherever the task has some.
            max_nodes: Largest law; None for the task's.
        """
        use = self.use_units if units is None else units
        if use and not self.use_units:
            raise ConfigError(f"task {self.name!r} has no units; leave units off")
        return Grammar(
            self.library,
            len(self.inputs),
            self.max_nodes if max_nodes is None else max_nodes,
            self.max_constants,
            (self.input_units, parse_unit(self.unit)) if use else None,
        )

    def generate_data(
        self,
        n_samples: int | None = None,
        noise: bool = False,
        rng: np.random.Generator | None = None,
        region: Literal["inside", "outside"] = "inside",
    ) -> Samples:
        """Draws rows; measured data is returned as it is.

        Args:
            n_samples: How many; None for ``rows``.
            noise: Whether to disturb the target by ``noise_level`` of its spread.
            rng: Where randomness comes from; None for a fixed seed.
            region: ``outside`` draws beyond the ranges, up to one width on either side, to see
                whether a law extrapolates; inputs that are never negative stay so.

        Raises:
            DataError: the law is defined almost nowhere there.
        """
        if self.data is not None:
            return self.data
        rng = np.random.default_rng(0) if rng is None else rng
        samples = self._drawn(self.rows if n_samples is None else n_samples, rng, region)
        if noise:
            spread = self.noise_level * samples.target.std()
            disturbed = samples.target + spread * rng.standard_normal(len(samples.target))
            samples = samples._replace(target=disturbed)
        return check_samples(samples, self.names, self.target)

    def _drawn(self, count: int, rng: np.random.Generator, region: str) -> Samples:
        """Draws rows at which the law is finite."""
        kept, missing = [], count
        for _ in range(_TRIES):
            inputs = self._points(2 * missing, rng, region)
            target = self._value(inputs)
            rows = np.vstack([inputs, target])[:, np.isfinite(target)][:, :missing]
            kept.append(rows)
            missing -= rows.shape[1]
            if missing == 0:
                table = np.hstack(kept)
                return Samples(table[:-1], table[-1])
        raise DataError(f"task {self.name!r}: its law is not defined in most of its ranges")

    def _value(self, inputs: np.ndarray) -> np.ndarray:
        law = self.expression
        if law is None:
            raise ConfigError(f"task {self.name!r} has no law to draw from")
        return evaluate(law.tokens, inputs, law.constants)

    def _points(self, count: int, rng: np.random.Generator, region: str) -> np.ndarray:
        low, high = (np.array([v[i] for v in self.inputs])[:, None] for i in (1, 2))
        if region == "inside":
            return rng.uniform(low, high, (len(self.inputs), count))
        width = high - low
        least = np.where(low >= 0, low / 2, low - width)
        points = rng.uniform(least, high + width, (len(self.inputs), count))
        beyond = ((points < low) | (points > high)).any(axis=0)
        return points[:, beyond]

    def _check_variables(self) -> None:
        names = self.variables
        if not self.inputs:
            raise ConfigError(f"task {self.name!r} needs at least one variable, found none")
        if len(self.inputs) > MAX_VARIABLES:
            raise ConfigError(
                f"task {self.name!r} may have {MAX_VARIABLES} variables (the vocabulary holds no "
                f"more), found {len(self.inputs)}"
            )
        if taken := sorted(set(names) & reserved_names()):
            raise ConfigError(f"task {self.name!r}: {taken[0]!r} names a token, not a variable")
        if len(set(names)) < len(names):
            raise ConfigError(f"task {self.name!r}: names must differ, found {', '.join(names)}")
        for variable in self.inputs:
            parse_unit(variable.unit)
            if not variable.low < variable.high:
                raise ConfigError(
                    f"task {self.name!r}: the range of {variable.name!r} must not be empty, "
                    f"found {variable.low} to {variable.high}"
                )


def task_from_data(
    names: Sequence[str], samples: Samples, name: str = "data", max_constants: int = 2
) -> PhysicsTask:
    """Returns the task of finding an unknown law in measured rows; no units.

    Args:
        names: Of the inputs, then of the target.
        samples: The rows.
        name: Of the task.
        max_constants: Most fitted numbers in the law.
    """
    check_samples(samples, names[:-1], names[-1])
    inputs = tuple(
        Variable(label, float(column.min()), float(max(column.max(), column.min() + 1e-12)))
        for label, column in zip(names[:-1], samples.inputs, strict=True)
    )
    return PhysicsTask(
        name=name, law=None, inputs=inputs, target=names[-1], data=samples,
        library=(*PHYSICS, "const"), max_constants=max_constants, rows=len(samples.target),
    )  # fmt: skip
