import pytest

from aime_agent.agents.config import AgentConfig
from aime_agent.agents.presets import AGENT_PRESETS, agent_preset
from aime_agent.errors import ConfigError
from aime_agent.world_model.presets import PRESETS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("grad_clip", -1.0),
        ("behaviour_clip", 0.0),
        ("horizon", 0),
        ("behaviour_updates", 0),
        ("dream_starts", 0),
        ("dream_skip", -1),
        ("entropy_weight", -1e-3),
        ("augment_probability", 1.5),
        ("slow_critic_rate", 2.0),
        ("ema_decay", 1.0),
        ("discount_per_two_frames", 1.0),
        ("return_lambda", -0.1),
    ],
)
def test_a_bad_value_is_named(name, value):
    with pytest.raises(ConfigError, match=rf"AgentConfig\.{name} must be .*found {value}"):
        AgentConfig(**{name: value})


def test_critics_of_actions_need_no_dream_and_a_path():
    assert AgentConfig(critic="action", horizon=0).horizon == 0
    with pytest.raises(ConfigError, match=r"horizon must be at least 0, found -1"):
        AgentConfig(critic="action", horizon=-1)
    with pytest.raises(ConfigError, match=r"actor_gradient must be 'pathwise' with critic"):
        AgentConfig(critic="action", actor_gradient="reinforce")


@pytest.mark.parametrize("name", ["actor_gradient", "augment", "critic"])
def test_an_unknown_choice_is_answered_with_the_known_ones(name):
    with pytest.raises((ConfigError, TypeError), match=name):
        AgentConfig(**{name: "both"})


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="'small'"):
        agent_preset("smal")
    with pytest.raises(ConfigError, match="'horizon'"):
        agent_preset("small", horizen=3)
    with pytest.raises(ConfigError, match="'kl_fraction'"):
        agent_preset("base", schedule={"kl_fracton": 0.5})


def test_a_change_inside_the_schedule_keeps_the_presets_rest():
    schedule = agent_preset("base", schedule={"tau_fraction": 0.5}).schedule
    assert (schedule.tau_fraction, schedule.lr_warmup_steps) == (0.5, 1000)


def test_every_world_model_has_an_agent():
    assert set(AGENT_PRESETS) == set(PRESETS)


def test_discount_is_one_of_time_and_not_of_actions():
    config = AgentConfig()
    assert config.discount(2) == 1 - 1 / 333
    assert config.discount(4) == pytest.approx(config.discount(2) ** 2)
    assert config.discount(1) == pytest.approx(config.discount(2) ** 0.5)


def test_base_has_the_seeds_values():
    c = agent_preset("base")
    assert (c.learning_rate, c.grad_clip, c.slot_grad_clip, c.ema_decay) == (2e-4, 5.0, 5.0, 0.995)
    assert (c.augment, c.augment_probability, c.schedule.lr_warmup_steps) == ("zoom", 0.6, 1000)
    assert (c.schedule.kl_start, c.schedule.kl_fraction) == (0.0, 0.1)
