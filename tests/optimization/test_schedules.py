"""Schedules at their ends and half-way."""

import pytest

from aime_agent.errors import ConfigError
from aime_agent.optimization.schedules import (
    ScheduleConfig,
    adversarial_warmup,
    discriminator_steps,
    kl_beta,
    lr_factor,
    ramp,
    tau_schedule,
)

SHORT = {"total_steps": 100, "lr_warmup_steps": 10}


def everything(**settings):
    c = ScheduleConfig(**{**SHORT, **settings})
    return [
        (
            kl_beta(s, c),
            tau_schedule(s, 15, c),
            adversarial_warmup(s, c),
            discriminator_steps(s, c),
            lr_factor(s, c),
        )
        for s in range(0, 120, 3)
    ]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_ramp_ends_where_it_should(shape):
    values = [ramp(s, 2.0, 1.0, 10, shape) for s in (-1, 0, 5, 10, 99)]
    assert values == pytest.approx([2.0, 2.0, 1.5, 1.0, 1.0])
    assert ramp(0, 2.0, 1.0, 0) == 1.0


def test_kl_weight_rises_over_the_first_tenth():
    c = ScheduleConfig(total_steps=100)
    assert [kl_beta(s, c) for s in (0, 5, 10, 50)] == pytest.approx([0.0, 0.5, 1.0, 1.0])


def test_temperature_falls_from_half_the_components_to_one():
    c = ScheduleConfig(total_steps=100)
    assert [tau_schedule(s, 15, c) for s in (0, 10)] == [7.5, 1.0]
    assert tau_schedule(0, 1, c) == 1.0


def test_adversarial_loss_waits_for_its_start():
    c = ScheduleConfig(total_steps=100, adversarial_start=0.5, adversarial_fraction=0.1)
    assert [adversarial_warmup(s, c) for s in (0, 49, 55, 60)] == pytest.approx([0, 0, 0.5, 1])


def test_learning_rate_warms_up_and_may_decay():
    c = ScheduleConfig(**SHORT, lr_decay="cosine", lr_end=0.2)
    assert [lr_factor(s, c) for s in (0, 9, 10, 55, 100)] == pytest.approx([0.1, 1, 1, 0.6, 0.2])


@pytest.mark.parametrize(
    "changed",
    [
        {"total_steps": 50}, {"shape": "cosine"}, {"kl_start": 0.5}, {"kl_end": 2.0}, {"kl_fraction": 0.5},
        {"tau_fraction": 0.5}, {"adversarial_start": 0.5}, {"adversarial_fraction": 0.5}, {"disc_every": 2},
        {"disc_steps": 3}, {"lr_warmup_steps": 50}, {"lr_decay": "cosine"},
    ],
)  # fmt: skip
def test_every_setting_acts(changed):
    assert everything() != everything(**changed)


@pytest.mark.parametrize(
    "bad", [{"total_steps": 0}, {"kl_fraction": 2.0}, {"disc_steps": -1}, {"lr_end": -1.0}]
)
def test_bad_setting_is_named(bad):
    with pytest.raises(ConfigError, match=f"ScheduleConfig.{next(iter(bad))}"):
        ScheduleConfig(**bad)
