"""What a policy sees of an unfinished law and of the rows that it must fit.

| key | shape | what |
|---|---|---|
| ``nodes`` | [N, 8] | per placed node: present, token, arity, depth, parent, side, open children, kind |
| ``node_mask`` | [N] | 1 where a node is |
| ``parent``, ``sibling``, ``previous`` | | tokens round the open slot, one more for none |
| ``scalars`` | [5] | share of nodes placed, of slots open, constants, inside trig, unit known |
| ``required_unit`` | [7] | exponents the slot must have, over 8; 0 where several will do |
| ``variables`` | [10, 9] | present, rank correlation with the target, exponents of its unit over 8 |
| ``data`` | [R, 11] | standardised rows: variables, then the target |
| ``action_mask`` | [V] | tokens that may come next |
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32
from scipy.stats import rankdata

from aime_agent.symbolic.grammar import Draft
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.tasks import PhysicsTask
from aime_agent.symbolic.tree import depths, parents
from aime_agent.symbolic.units import BASE, DIMENSIONLESS, QUARTERS, Unit
from aime_agent.symbolic.vocabulary import ARITY, MAX_VARIABLES, NUM_TOKENS, VOCABULARY, Kind

NODE_FEATURES = 8
_KINDS = list(Kind)
_UNIT_SCALE = 8 * QUARTERS
_DATA_BOUND = 10.0


def observation_space(max_nodes: int, data_rows: int) -> spaces.Space[Any]:
    """Returns the space of all the above."""

    def box(low: float, high: float, *shape: int) -> spaces.Box:
        return spaces.Box(low, high, shape, np.float32)

    around = NUM_TOKENS + 1
    return spaces.Dict(
        {
            "nodes": box(0.0, 1.0, max_nodes, NODE_FEATURES),
            "node_mask": spaces.MultiBinary(max_nodes),
            "parent": spaces.Discrete(around),
            "sibling": spaces.Discrete(around),
            "previous": spaces.Discrete(around),
            "scalars": box(0.0, 1.0, 5),
            "required_unit": box(-1.0, 1.0, len(BASE)),
            "variables": box(-1.0, 1.0, MAX_VARIABLES, 2 + len(BASE)),
            "data": box(-_DATA_BOUND, _DATA_BOUND, data_rows, MAX_VARIABLES + 1),
            "action_mask": spaces.MultiBinary(NUM_TOKENS),
        }
    )


def draft_observation(draft: Draft, max_nodes: int) -> dict[str, Any]:
    """Returns what changes with every token."""
    tokens = draft.finished
    count, most = len(tokens), max(1, draft.grammar.max_constants)
    mask = np.zeros(max_nodes, np.int8)
    mask[:count] = 1
    automaton = draft.grammar.automaton
    unit = None
    if automaton is not None and not draft.complete:
        unit = automaton.required(draft.state)
    scalars = (
        count / max_nodes, draft.open_slots / max_nodes, draft.constants / most, draft.in_trig,
        unit is not None,
    )  # fmt: skip
    return {
        "nodes": node_features(tokens, max_nodes),
        "node_mask": mask,
        "parent": np.int64(draft.parent),
        "sibling": np.int64(draft.sibling),
        "previous": np.int64(draft.previous),
        "scalars": np.array(scalars, np.float32).clip(0.0, 1.0),
        "required_unit": _scaled(DIMENSIONLESS if unit is None else unit),
    }


def node_features(tokens: tuple[int, ...], max_nodes: int) -> Float32[np.ndarray, "N 8"]:
    """Returns the features of placed nodes, zeros beyond; all in [0, 1].

    The parent is its position + 1 over N; sides are 0 (root), 0.5 (first child) and 1 (second).
    """
    features = np.zeros((max_nodes, NODE_FEATURES), np.float32)
    above, levels = parents(tokens), depths(tokens)
    placed = np.zeros(len(tokens), int)
    for i, (token, parent) in enumerate(zip(tokens, above, strict=True)):
        side = 0.0
        if parent >= 0:
            placed[parent] += 1
            side = 0.5 * placed[parent]
        kind = _KINDS.index(VOCABULARY[token].kind) / (len(_KINDS) - 1)
        features[i] = (
            1.0, token / NUM_TOKENS, ARITY[token] / 2, levels[i] / max_nodes,
            (parent + 1) / max_nodes, side, 0.0, kind,
        )  # fmt: skip
    for i, token in enumerate(tokens):
        features[i, 6] = (ARITY[token] - placed[i]) / 2
    return features


def task_observation(task: PhysicsTask, samples: Samples, data_rows: int) -> dict[str, Any]:
    """Returns what stays the same for a task and its rows."""
    count = len(task.inputs)
    variables = np.zeros((MAX_VARIABLES, 2 + len(BASE)), np.float32)
    for i, unit in enumerate(task.input_units):
        variables[i, 0] = 1.0
        variables[i, 1] = rank_correlation(samples.inputs[i], samples.target)
        variables[i, 2:] = _scaled(unit if task.use_units else DIMENSIONLESS)
    shown = min(data_rows, len(samples.target))
    data = np.zeros((data_rows, MAX_VARIABLES + 1), np.float32)
    data[:shown, :count] = _standard(samples.inputs.T)[:shown]
    data[:shown, -1] = _standard(samples.target[:, None])[:shown, 0]
    return {"variables": variables, "data": data.clip(-_DATA_BOUND, _DATA_BOUND)}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Returns Spearman's coefficient; 0 where one of them does not vary.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([-1.0, -2.0, -3.0]))
    -1.0
    """
    first, second = (rankdata(x) - (len(x) + 1) / 2 for x in (a, b))
    norm = np.sqrt((first @ first) * (second @ second))
    return round(float(first @ second / norm), 9) if norm > 0 else 0.0


def _standard(columns: np.ndarray) -> np.ndarray:
    spread = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _scaled(unit: Unit) -> Float32[np.ndarray, "7"]:
    return (np.array(unit, np.float32) / _UNIT_SCALE).clip(-1.0, 1.0)
