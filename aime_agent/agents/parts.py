"""Dictionaries of tensors in one another, by name."""

from collections.abc import Mapping

from torch import Tensor


def join(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merges dictionaries of tensors under ``name.``."""
    return {f"{name}.{key}": value for name, d in parts.items() for key, value in d.items()}


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the entries that `join` put under ``name.``."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
