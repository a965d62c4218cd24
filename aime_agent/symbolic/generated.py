"""Made-up laws to train on, none of which is a law that is tested on.

Half are random expressions of a small grammar, half have units: products of powers, and sums of two
energies. A *fingerprint* tells laws apart: the values at fixed points, up to a factor and up to the
order of the variables. A law that has the fingerprint of a known task, or of one made before, is
dropped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from aime_agent.errors import ConfigError
from aime_agent.symbolic.catalogue import TASKS
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.grammar import Grammar
from aime_agent.symbolic.tasks import PhysicsTask, Variable
from aime_agent.symbolic.tree import Expression, Tokens, infix
from aime_agent.symbolic.units import DIMENSIONLESS, Unit, divide, format_unit, multiply, parse_unit
from aime_agent.symbolic.vocabulary import NUM_TOKENS, PHYSICS, is_variable

Fingerprint = tuple[float, ...]

_POINTS, _DIGITS, _MOST_ORDERS = 6, 7, 6
_UNITS = ("m", "s", "kg", "m/s", "1/s", "N", "N/m", "K", "C", "m^2", "1")
_LIBRARY = (*PHYSICS, "const")
_RANDOM_NODES = 12
_TRIES = 200


def fingerprint(law: Expression) -> Fingerprint | None:
    """Returns what stays the same when variables are renamed and the law is multiplied.

    None where the law is not finite, or does not vary, at the fixed points. Above six variables
    their order counts, since there are too many to try.
    """
    used = sorted({token for token in law.tokens if is_variable(token)})
    if not used:
        return None
    places = {token: i for i, token in enumerate(used)}
    tokens = tuple(places.get(token, token) for token in law.tokens)
    points = np.random.default_rng(7).uniform(0.5, 2.0, (len(used), _POINTS))
    orders = permutations(range(len(used))) if len(used) <= _MOST_ORDERS else [range(len(used))]
    found = [_normalised(tokens, points[list(order)], law.constants) for order in orders]
    known = [f for f in found if f is not None]
    return min(known) if len(known) == len(found) else None


def _normalised(
    tokens: Tokens, points: np.ndarray, constants: tuple[float, ...]
) -> Fingerprint | None:
    values = evaluate(tokens, points, constants)
    if not np.isfinite(values).all() or np.ptp(values) < 1e-9 * (1 + np.abs(values).max()):
        return None
    largest = values[np.abs(values).argmax()]
    return tuple((np.round(values / largest, _DIGITS) + 0.0).tolist())


def generate_tasks(
    count: int, seed: int = 0, avoid: Iterable[PhysicsTask] | None = None
) -> list[PhysicsTask]:
    """Returns made-up tasks, all different from each other and from those to avoid.

    Args:
        count: How many.
        seed: Decides everything.
        avoid: Tasks to stay clear of; None for the whole catalogue.

    Raises:
        ConfigError: so many different ones were not found.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, found {count}")
    taken = set()
    for task in TASKS.values() if avoid is None else avoid:
        if task.expression is not None:
            taken.add(fingerprint(task.expression))
    made: list[PhysicsTask] = []
    for task in _candidates(np.random.default_rng(seed), count * _TRIES):
        print_of = None if task.expression is None else fingerprint(task.expression)
        if print_of is None or print_of in taken or not (_defined(task) and _writable(task)):
            continue
        taken.add(print_of)
        made.append(_renamed(task, f"generated_{seed}_{len(made)}"))
        if len(made) == count:
            return made
    raise ConfigError(f"only {len(made)} of {count} different laws were found; ask for fewer")


def _candidates(rng: np.random.Generator, most: int) -> Iterator[PhysicsTask]:
    makers = (_random_law, _product, _energies)
    for k in range(most):
        task = makers[(0, 1, 0, 2)[k % 4]](rng)
        if task is not None:
            yield task


def _random_law(rng: np.random.Generator) -> PhysicsTask | None:
    """Returns a random expression of up to 3 variables, all of which it uses."""
    count = int(rng.integers(1, 4))
    names = [f"v{i}" for i in range(count)]
    draft = Grammar(PHYSICS, count, _RANDOM_NODES).begin()
    while not draft.complete:
        draft.place(int(rng.choice(NUM_TOKENS, p=draft.options().prior)))
    if len(draft.tokens) < 3 or len(set(draft.tokens) & set(range(count))) < count:
        return None
    law = infix(Expression(draft.finished), names).replace("^", "**")
    inputs = tuple(Variable(name, 0.5, 2.0) for name in names)
    return PhysicsTask(
        name="random", law=law, inputs=inputs, target="y", library=_LIBRARY, max_constants=1,
        suite="generated", domain="mathematics",
    )  # fmt: skip


def _product(rng: np.random.Generator) -> PhysicsTask:
    """Returns a product of powers of 2 to 4 quantities with units, times a small number.

    Of four only first powers, so that the unit automaton, which counts to 9 nodes, can write it.
    """
    count = int(rng.integers(2, 5))
    units = [parse_unit(str(u)) for u in rng.choice(_UNITS, count)]
    powers = rng.choice([-2, -1, 1, 1, 2] if count < 4 else [-1, 1], count).tolist()
    names = [f"v{i}" for i in range(count)]
    total = DIMENSIONLESS
    for unit, power in zip(units, powers, strict=True):
        total = multiply(total, tuple(power * e for e in unit))
    above = [_raised(n, p) for n, p in zip(names, powers, strict=True) if p > 0] or ["1"]
    below = [_raised(n, -p) for n, p in zip(names, powers, strict=True) if p < 0]
    law = "*".join(above) + "".join(f"/{part}" for part in below)
    law += str(rng.choice(["", "/2", "*2", "*pi"]))
    return _with_units(law, names, units, total, "product")


def _energies(rng: np.random.Generator) -> PhysicsTask:
    """Returns a·x²/2 + b·y²/2 or the like, the unit of b being what it must be."""
    a, x, y = (parse_unit(str(u)) for u in rng.choice(_UNITS, 3))
    first, second = rng.choice([1, 2], 2).tolist()
    total = multiply(a, tuple(first * e for e in x))
    b = divide(total, tuple(second * e for e in y))
    sign = rng.choice(["+", "-"])
    law = f"a*{_raised('x', first)} {sign} b*{_raised('y', second)}"
    law = f"({law})/2" if rng.random() < 0.5 else law
    return _with_units(law, ["a", "x", "b", "y"], [a, x, b, y], total, "energies")


def _raised(name: str, power: int) -> str:
    return name if power == 1 else f"{name}**{power}"


def _with_units(
    law: str, names: list[str], units: list[Unit], total: Unit, domain: str
) -> PhysicsTask:
    inputs = tuple(
        Variable(name, 0.5, 2.0, format_unit(unit)) for name, unit in zip(names, units, strict=True)
    )
    return PhysicsTask(
        name=domain, law=law, inputs=inputs, target="f", unit=format_unit(total), use_units=True,
        library=_LIBRARY, max_constants=1, max_nodes=20, suite="generated", domain=domain,
    )  # fmt: skip


def _defined(task: PhysicsTask) -> bool:
    """Whether a law is finite and varies in its whole range."""
    law = task.expression
    if law is None:
        return False
    points = np.random.default_rng(3).uniform(0.5, 2.0, (len(task.inputs), 64))
    values = evaluate(law.tokens, points, law.constants)
    return bool(np.isfinite(values).all() and np.abs(values).max() < 1e6 and np.std(values) > 1e-6)


def _writable(task: PhysicsTask) -> bool:
    """Whether the task's own grammar can write its law, so that it can be found at all."""
    if task.expression is None:
        return False
    try:
        return task.grammar().draft_of(task.expression.tokens).complete
    except ConfigError:
        return False


def _renamed(task: PhysicsTask, name: str) -> PhysicsTask:
    nodes = 1 if task.expression is None else len(task.expression.tokens)
    difficulty = min(1.0, nodes / 20)
    return replace(task, name=name, difficulty=difficulty)
