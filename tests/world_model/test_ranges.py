"""Every numeric setting of the world model is checked when the configuration is made."""

import typing
from dataclasses import fields

import pytest

from aime_agent.errors import ConfigError
from aime_agent.world_model import PRESETS, WorldModelConfig, preset
from aime_agent.world_model.ranges import LEAST, POSITIVE, REAL, SHARE, check_ranges

HINTS = typing.get_type_hints(WorldModelConfig)
NUMBERS = {f.name for f in fields(WorldModelConfig) if HINTS[f.name] in (int, float)}


def holding(name, value):
    """A configuration with a value that the type checker of the tests would refuse first."""
    config = WorldModelConfig()
    object.__setattr__(config, name, value)
    return config


def test_every_number_has_its_range():
    assert {*LEAST, *REAL} == NUMBERS
    assert not set(LEAST) & set(REAL)
    assert all(HINTS[name] is int for name in LEAST)


@pytest.mark.parametrize("name", LEAST)
def test_whole_numbers_have_a_least_that_works(name):
    least = LEAST[name]
    assert getattr(WorldModelConfig(**{name: least}), name) == least
    with pytest.raises(ConfigError, match=rf"\.{name} must be at least {least}, found {least - 1}"):
        WorldModelConfig(**{name: least - 1})
    for value in (least + 0.5, True, None, str(least)):
        with pytest.raises(ConfigError, match=rf"\.{name} must be a whole number, found"):
            check_ranges(holding(name, value))


@pytest.mark.parametrize("name", REAL)
def test_real_numbers_stay_within_their_interval(name):
    with pytest.raises(ConfigError, match=rf"\.{name} must be .*, found -0.1"):
        WorldModelConfig(**{name: -0.1})
    for value in (float("nan"), float("inf"), True, "0.5"):
        with pytest.raises(ConfigError, match=rf"\.{name} must be a finite number, found"):
            check_ranges(holding(name, value))
    assert getattr(WorldModelConfig(**{name: 0.5}), name) == 0.5


@pytest.mark.parametrize("name", [n for n, rule in REAL.items() if "1" in rule])
def test_shares_end_at_one(name):
    with pytest.raises(ConfigError, match=name):
        WorldModelConfig(**{name: 1.5})
    if REAL[name] == SHARE:
        assert getattr(WorldModelConfig(**{name: 1}), name) == 1
    else:
        with pytest.raises(ConfigError, match=rf"{name} must be in .*1\), found 1"):
            WorldModelConfig(**{name: 1.0})


@pytest.mark.parametrize(
    "name", [n for n, rule in REAL.items() if rule == POSITIVE or "(0" in rule]
)
def test_open_intervals_leave_zero_out(name):
    with pytest.raises(ConfigError, match=rf"{name} must be in \(0"):
        WorldModelConfig(**{name: 0.0})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_pass(name):
    assert preset(name).consistency_every >= 1
