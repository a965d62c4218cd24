"""Means of scalars over several updates, summed in float64 so that saving them loses nothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Averages:
    """Sums and counts by name.

    >>> averages = Averages()
    >>> averages.add({"loss": 1.0})
    >>> averages.add({"loss": torch.tensor(2.0)})
    >>> averages.take()
    {'loss': 1.5}
    """

    def __init__(self, state: Mapping[str, Sequence[float]] | None = None) -> None:
        self._sums: dict[str, float | Tensor] = {}
        self._counts: dict[str, int] = {}
        for name, (total, count) in (state or {}).items():
            self._sums[name] = total
            self._counts[name] = int(count)

    def add(self, values: Mapping[str, float | Tensor]) -> None:
        """Adds one value per name; tensors stay where they are until they are read."""
        for name, value in values.items():
            number = value.detach().to(torch.float64) if isinstance(value, Tensor) else value
            self._sums[name] = self._sums.get(name, 0.0) + number
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Returns the means and forgets everything."""
        means = {k: float(v) / self._counts[k] for k, v in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        """Returns sums and counts as JSON values."""
        return {k: (float(v), self._counts[k]) for k, v in self._sums.items()}
