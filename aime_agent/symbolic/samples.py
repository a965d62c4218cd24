"""Measured rows: the inputs and the target of a law, checked once."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from aime_agent.errors import DataError
from aime_agent.symbolic.vocabulary import MAX_VARIABLES


class Samples(NamedTuple):
    """N rows; row i of ``inputs`` holds the values of variable x_i."""

    inputs: Float64[np.ndarray, "V N"]
    target: Float64[np.ndarray, "N"]


def check_samples(samples: Samples, names: Sequence[str], target: str) -> Samples:
    """Returns the rows, or says what is wrong with them.

    Raises:
        DataError: a value is not finite, there are fewer than two rows, no variable, too many,
            or the target is the same in every row.
    """
    count, rows = samples.inputs.shape
    if not 1 <= count <= MAX_VARIABLES:
        raise DataError(
            f"a law needs 1 to {MAX_VARIABLES} variables (the vocabulary holds no more), "
            f"found {count}; leave out columns that do not matter"
        )
    if rows < 2:
        raise DataError(f"a law needs at least 2 rows of data, found {rows}")
    for name, column in zip([*names, target], [*samples.inputs, samples.target], strict=True):
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            raise DataError(
                f"column {name!r} must be finite, found {column[bad[0]]} in row {bad[0]} "
                f"({len(bad)} such rows); remove them"
            )
    if np.ptp(samples.target) == 0:
        raise DataError(f"column {target!r} must vary, found {samples.target[0]:g} in all rows")
    return samples


def read_csv(path: Path) -> tuple[list[str], Samples]:
    """Reads a table with a header of names; the last column is the target.

    Returns:
        All names, the target's last, and the rows.

    Raises:
        DataError: the file is no such table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if len(header) < 2:
        raise DataError(f"{path} must have a header with a variable and a target, found {header}")
    values = []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(header)} columns needed, found {len(row)}"
            )
        try:
            values.append([float(cell) for cell in row])
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    table = np.array(values, np.float64).reshape(len(rows), len(header)).T
    names = [name.strip() for name in header]
    return names, check_samples(Samples(table[:-1], table[-1]), names[:-1], names[-1])
