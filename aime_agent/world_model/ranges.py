"""Which numbers the settings of the world model may be; a new numeric setting needs its line here.

Every field of `WorldModelConfig` that is a number is checked when the configuration is made, not
when it is first used: a stride of 0 would otherwise fail in the middle of the first update.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from aime_agent.errors import ConfigError

LEAST: Mapping[str, int] = {
    "image_size": 32,
    "image_channels": 1,
    "action_dim": 1,
    "latent_dim": 1,
    "hierarchy": 0,
    "hidden_dim": 1,
    "context_dim": 1,
    "max_components": 1,
    "n_lstm_layers": 1,
    "num_slots": 1,
    "slot_dim": 1,
    "attention_resolution": 2,
    "base_channels": 1,
    "patch": 1,
    "units": 1,
    "head_units": 2,
    "consistency_steps": 0,
    "disagreement_heads": 0,
    "consistency_every": 1,
    "token_every": 1,
    "slot_decoder_units": 1,
    "slot_every": 1,
    "slot_pixels": 1,
    "gram_every": 1,
}
"""Whole numbers and the least of each."""

POSITIVE, SHARE, OPEN_SHARE = "in (0, inf)", "in [0, 1]", "in (0, 1)"
NOT_NEGATIVE, BELOW_ONE = "at least 0", "in [0, 1)"

REAL: Mapping[str, str] = {
    "prior_alpha": POSITIVE,
    "prior_beta": POSITIVE,
    "min_std": OPEN_SHARE,
    "uniform_mix": BELOW_ONE,
    "free_nats": NOT_NEGATIVE,
    "representation_weight": NOT_NEGATIVE,
    "attention_prior_weight": SHARE,
    "frame_energy": NOT_NEGATIVE,
    "slot_motion": NOT_NEGATIVE,
}
"""Finite numbers and where each must lie."""


def check_ranges(config: Any) -> None:
    """Raises `ConfigError` for the first number of ``config`` that no model can have."""
    for name, least in LEAST.items():
        value = getattr(config, name)
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        _require(config, name, whole, "a whole number", value)
        _require(config, name, value >= least, f"at least {least}", value)
    for name, rule in REAL.items():
        value = getattr(config, name)
        number = isinstance(value, Real) and not isinstance(value, bool)
        _require(config, name, number and math.isfinite(value), "a finite number", value)
        _require(config, name, inside(value, rule), rule, value)


def inside(value: float, rule: str) -> bool:
    """Returns whether a finite number obeys one of the rules of `REAL`.

    >>> inside(1.0, SHARE), inside(1.0, BELOW_ONE), inside(0.0, POSITIVE)
    (True, False, False)
    """
    above = value > 0 if rule in (POSITIVE, OPEN_SHARE) else value >= 0
    if rule == SHARE:
        return above and value <= 1
    return above and (value < 1 if rule in (OPEN_SHARE, BELOW_ONE) else True)


def _require(config: Any, name: str, holds: bool, what: str, found: object) -> None:
    if not holds:
        raise ConfigError(f"{type(config).__name__}.{name} must be {what}, found {found!r}")
