"""Every arm acts, differs from its base in one thing, and the control has the size it claims."""

from dataclasses import fields

import pytest

from aime_agent.errors import ConfigError
from aime_agent.training.bench.arms import (
    ARMS,
    arm_config,
    arm_training,
    count_parameters,
    find_arms,
)

BY_NAME = {arm.name: arm for arm in ARMS}
OTHERS = [arm for arm in ARMS if arm.base]


def settings(arm):
    return arm_config(arm, "small", action_dim=2), arm_training(arm, "small", 1000)


def changed(one, other):
    return {f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}


@pytest.mark.parametrize("arm", OTHERS, ids=lambda a: a.name)
def test_arm_differs_from_its_base(arm):
    pairs = zip(settings(arm), settings(BY_NAME[arm.base]), strict=True)
    differences = set().union(*(changed(one, other) for one, other in pairs))
    control = {"max_components", "context", "use_attention", "use_slots"}
    assert differences == control if arm.name == "rssm_narrow" else len(differences) == 1


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_control_has_the_size_of_the_default(preset):
    ours, control = (
        count_parameters(arm_config(BY_NAME[name], preset, action_dim=6))
        for name in ("default", "rssm")
    )
    assert control == pytest.approx(ours, rel=0.02)


def test_weights_of_a_preset_survive_an_arm():
    config = arm_config(BY_NAME["reward_10"], "small", action_dim=2)
    assert (config.weights.reward, config.weights.consistency) == (10.0, 1.0)


def test_schedule_is_stretched_over_the_run():
    assert arm_training(BY_NAME["annealed"], "small", 700).schedule.total_steps == 700


def test_unknown_arm_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'gausian'.*'gaussian'"):
        find_arms("default,gausian")
    assert find_arms("all") == list(ARMS)
