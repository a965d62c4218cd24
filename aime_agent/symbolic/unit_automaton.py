"""Which tokens can still lead to a law whose units fit: an automaton over required units.

While a tree is written, the open slot has a *continuation* F: F[u] is the smallest number of nodes
that finish the rest of the tree once the slot's subtree is closed with unit u; no u, no way. With
c_t[u] the smallest size of a subtree of unit u under the token t, t is allowed iff

    min_u c_t[u] + F[u]  <=  nodes left.

The root's F is 0 at the target's unit. Placing a token turns F into that of its first child, and
closing this child into that of the second, by min-plus sums over the units:

    sum (first)       F'[u] = F[u] + c[u]            (second)  F'[v] = F[v] for v = u, else none
    product (first)   F'[u] = min_v c[v] + F[u + v]  (second)  F'[v] = F[u + v]
    square            F'[u] = F[2 u]

Continuations are interned, so that during a search each step is a look-up. c counts variables,
numbers, products, quotients, powers and roots, which no other rule forbids. Considered are the
``MAX_UNITS`` units u for which u and target / u together need the fewest nodes: a subexpression of a
stranger unit is never offered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32, Int64

from aime_agent.errors import ConfigError
from aime_agent.symbolic.units import DIMENSIONLESS, QUARTERS, Unit, combined, divide, format_unit
from aime_agent.symbolic.vocabulary import ARITY, CONST, ID, NUM_TOKENS, NUMBER_VALUES

MAX_SIZE = 9
MAX_UNITS = 400
_MOST_SEEN = 4000
"""Units that are looked at before the useful ones are chosen."""
_NEVER = 1 << 20
_PRODUCT, _QUOTIENT = ID["mul"], ID["div"]
_POWER_OF = {ID["square"]: 2 * QUARTERS, ID["cube"]: 3 * QUARTERS, ID["sqrt"]: QUARTERS // 2}
_PROMISES = frozenset((_PRODUCT, _QUOTIENT, *_POWER_OF))
"""Operators that no rule of taste forbids: costs promise nothing that needs another."""
_LARGEST_EXPONENT = 6 * QUARTERS
"""Units beyond the sixth power are not considered, nor broken powers where no variable has any."""

Costs = Int32[np.ndarray, "U1"]


class UnitAutomaton:
    """Continuations of one task: its variables, its library and the unit of its target.

    Args:
        library: Ids of operators, numbers and ``const`` that may be used.
        variables: Units of x0, x1, ...
        target: Unit of the law.

    Raises:
        ConfigError: no expression of the library has the target's unit.
    """

    def __init__(self, library: Iterable[int], variables: Sequence[Unit], target: Unit) -> None:
        self.library = frozenset(library)
        self._leaves = self._leaf_units(variables)
        sizes = smallest_sizes(self.library, self._leaves)
        if target not in sizes:
            raise ConfigError(
                f"no expression of at most {MAX_SIZE} nodes has the unit {format_unit(target)} of "
                f"the target; variables have {', '.join(map(format_unit, variables))}"
            )
        self.units = useful_units(sizes, target, self._leaves.values())
        self._index = {unit: i for i, unit in enumerate(self.units)}
        self._plus = self._table(lambda a, b: a + b)
        self._minus = self._table(lambda a, b: a - b)
        self._unary = {t: self._unary_map(t) for t in self.library if ARITY[t] == 1}
        self._cost, self._token_cost = self._settled_costs()
        self._states: list[Costs] = []
        self._known: dict[bytes, int] = {}
        self._needs: dict[int, tuple[int, ...]] = {}
        self._first: dict[tuple[int, int], int] = {}
        self._second: dict[tuple[int, int, int], int] = {}
        begin = self._nothing()
        begin[self._index[target]] = 0
        self.start = self._intern(begin)

    def needed(self, state: int) -> tuple[int, ...]:
        """Returns, for every token, how many nodes it and all the rest need at least."""
        if state not in self._needs:
            total = (self._token_cost + self._states[state]).min(axis=1)
            self._needs[state] = tuple(int(n) for n in total)
        return self._needs[state]

    def first_child(self, state: int, token: int) -> int:
        """Returns the state of an operator's first child."""
        key = (state, token)
        if key not in self._first:
            self._first[key] = self._intern(self._first_costs(self._states[state], token))
        return self._first[key]

    def second_child(self, state: int, token: int, first_unit: int) -> int:
        """Returns the state of the second child, once the first is closed."""
        key = (state, token, first_unit)
        if key not in self._second:
            costs = self._states[state]
            if token in (_PRODUCT, _QUOTIENT):
                table = self._plus if token == _PRODUCT else self._minus
                new = costs[np.append(table[first_unit], len(self.units))]
            else:
                new = self._nothing()
                new[first_unit] = costs[first_unit]
            self._second[key] = self._intern(new)
        return self._second[key]

    def leaf_unit(self, token: int) -> int:
        """Returns the index of a leaf's unit."""
        return self._index[self._leaves[token]]

    def closed_unit(self, token: int, children: Sequence[int]) -> int:
        """Returns the index of an operator's unit over its children's."""
        unit = combined(token, [self.units[i] for i in children])
        if unit is None or unit not in self._index:
            raise ConfigError("the tree was built against its unit mask")
        return self._index[unit]

    def required(self, state: int) -> Unit | None:
        """Returns the unit that the slot must have, None where several will do."""
        possible = np.flatnonzero(self._states[state] < _NEVER)
        return self.units[possible[0]] if len(possible) == 1 else None

    def _leaf_units(self, variables: Sequence[Unit]) -> dict[int, Unit]:
        leaves = dict(enumerate(variables))
        numbers = {t: DIMENSIONLESS for t in self.library if t in NUMBER_VALUES or t == CONST}
        return leaves | numbers

    def _nothing(self) -> Costs:
        return np.full(len(self.units) + 1, _NEVER, np.int32)

    def _table(self, operator: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Returns the index of u ∘ v for all pairs of units; one past the end for none."""
        exponents = np.array(self.units, np.int64)
        base = 8 * _LARGEST_EXPONENT
        weights = base ** np.arange(exponents.shape[1], dtype=np.int64)
        keys = exponents @ weights
        order = np.argsort(keys)
        wanted = operator(keys[:, None], keys[None, :])
        place = np.searchsorted(keys[order], wanted).clip(max=len(keys) - 1)
        return np.where(keys[order][place] == wanted, order[place], len(keys)).astype(np.int32)

    def _unary_map(self, token: int) -> np.ndarray:
        """Returns the index of the operator's unit over each unit; one past the end for none."""
        absent = len(self.units)
        results = (combined(token, [unit]) for unit in self.units)
        found = [absent if r is None else self._index.get(r, absent) for r in results]
        return np.array([*found, absent], np.int32)

    def _settled_costs(self) -> tuple[Costs, Int32[np.ndarray, "T U1"]]:
        """Returns c and c_t over the units that are kept: each promise can be kept by one of them."""
        cost = self._nothing()
        while True:
            by_token = self._token_costs(cost)
            better = by_token[sorted(_PROMISES & self.library | self._leaves.keys() - {CONST})]
            settled = better.min(axis=0)
            if (settled == cost).all():
                return cost, by_token
            cost = settled

    def _token_costs(self, cost: Costs) -> Int32[np.ndarray, "T U1"]:
        """Returns c_t[u] for all tokens, from the costs of their children."""
        costs = np.full((NUM_TOKENS, len(self.units) + 1), _NEVER, np.int32)
        for token, unit in self._leaves.items():
            costs[token, self._index[unit]] = 1
        for token, result in self._unary.items():
            np.minimum.at(costs[token], result, 1 + cost)
        for token in (_PRODUCT, _QUOTIENT):
            if token in self.library:
                table = self._plus if token == _PRODUCT else self._minus
                np.minimum.at(costs[token], table, 1 + cost[:-1, None] + cost[None, :-1])
        for token in self.library & {ID["add"], ID["sub"]}:
            costs[token] = 1 + 2 * cost
        costs[:, -1] = _NEVER
        return np.minimum(costs, _NEVER)

    def _first_costs(self, costs: Costs, token: int) -> Costs:
        """Returns F' of the first child."""
        if ARITY[token] == 1:
            new = costs[self._unary[token]]
        elif token in (_PRODUCT, _QUOTIENT):
            table = self._plus if token == _PRODUCT else self._minus
            rest = (self._cost[None, :-1] + costs[table]).min(axis=1)
            new = np.append(rest, _NEVER)
        else:
            new = self._cost + costs
        return np.minimum(new, _NEVER).astype(np.int32)

    def _intern(self, costs: Costs) -> int:
        key = costs.tobytes()
        if key not in self._known:
            self._known[key] = len(self._states)
            self._states.append(costs)
        return self._known[key]


def smallest_sizes(library: frozenset[int], leaves: Mapping[int, Unit]) -> dict[Unit, int]:
    """Returns the number of nodes of the smallest tree of each unit that is reached."""
    plain = {unit for token, unit in leaves.items() if token != CONST}
    known = dict.fromkeys(sorted(plain), 1)
    if _QUOTIENT in library:
        known.setdefault(DIMENSIONLESS, 3)
    broken = any(e % QUARTERS for unit in plain for e in unit)
    levels = {1: np.array(sorted(plain), np.int64)}
    for size in range(2, MAX_SIZE + 1):
        found = np.unique(_of_size(size, levels, library), axis=0)
        fits = (np.abs(found) <= _LARGEST_EXPONENT).all(axis=1)
        fits &= broken | (found % QUARTERS == 0).all(axis=1)
        new = [unit for unit in map(tuple, found[fits].tolist()) if unit not in known]
        known |= dict.fromkeys(new, size)
        levels[size] = np.array(new, np.int64).reshape(len(new), found.shape[1])
        if len(known) > _MOST_SEEN:
            break
    return known


def useful_units(
    sizes: Mapping[Unit, int], target: Unit, leaves: Iterable[Unit] = ()
) -> list[Unit]:
    """Returns the units to consider, the most useful first."""

    def detour(unit: Unit) -> tuple[int, int, Unit]:
        rest = sizes.get(divide(target, unit), 2 * MAX_SIZE)
        return sizes[unit] + rest, sizes[unit], unit

    kept = sorted(sizes, key=detour)[:MAX_UNITS]
    return list(dict.fromkeys([*kept, *leaves, target, DIMENSIONLESS]))


def _of_size(
    size: int, levels: Mapping[int, Int64[np.ndarray, "_ 7"]], library: frozenset[int]
) -> Int64[np.ndarray, "_ 7"]:
    """Returns the units of trees with exactly this many nodes, from smaller ones."""
    below = levels[size - 1]
    found = [below[:0]]
    for token, factor in _POWER_OF.items():
        if token in library:
            whole = (below * factor % QUARTERS == 0).all(axis=1)
            found.append(below[whole] * factor // QUARTERS)
    for left in range(1, size - 1):
        a, b = levels[left][:, None], levels[size - 1 - left][None, :]
        found += [(a + b).reshape(-1, below.shape[1])] if _PRODUCT in library else []
        found += [(a - b).reshape(-1, below.shape[1])] if _QUOTIENT in library else []
    return np.concatenate(found)
