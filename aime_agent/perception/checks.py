"""Checks that the settings of this pillar share."""

import math
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


def fold_levels(owner: Any) -> None:
    """Checks the choice of quantiser; with ``fsq`` the levels decide ``num_codes``."""
    require(
        owner.quantizer in ("vq", "fsq"), owner, "quantizer must be 'vq' or 'fsq'", owner.quantizer
    )
    object.__setattr__(owner, "levels", tuple(owner.levels))
    if owner.quantizer == "vq":
        return
    copied = owner.code_gradient == "straight_through"
    require(copied, owner, "code_gradient acts with quantizer='vq' alone", owner.code_gradient)
    object.__setattr__(owner, "num_codes", math.prod(owner.levels))
