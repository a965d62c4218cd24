"""Checks that the settings of this pillar share."""

from collections.abc import Sequence
from typing import Any

from aime_agent.errors import ConfigError


def require(ok: bool, owner: object, rule: str, found: object) -> None:
    """Raises `ConfigError` unless ``ok``; ``rule`` begins with the name of the field."""
    if not ok:
        raise ConfigError(f"{type(owner).__name__}.{rule}, got {found!r}")


def require_positive(owner: Any, *names: str) -> None:
    """Raises `ConfigError` for the first named field below 1."""
    for name in names:
        value = getattr(owner, name)
        require(value >= 1, owner, f"{name} must be at least 1", value)


def require_share(owner: Any, *names: str) -> None:
    """Raises `ConfigError` for the first named field outside [0, 1)."""
    for name in names:
        value = getattr(owner, name)
        require(0.0 <= value < 1.0, owner, f"{name} must be in [0, 1)", value)


def as_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width of a square side or of a pair.

    >>> as_pair(64)
    (64, 64)
    """
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width
