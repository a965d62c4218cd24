"""What is compared: each arm differs from its base in exactly one thing.

The control, ``rssm``, is the exception that the comparison is about: a recurrent state-space model
(Hafner et al., 2019) within the same code: one Gaussian, no Perceiver, no attention, no slots. It
comes with the preset's widths (``rssm_narrow``) and widened until it has as many parameters as the
default (``rssm``); between these two only the width of h differs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aime_agent.agents.config import AgentConfig
from aime_agent.agents.presets import agent_preset
from aime_agent.configs import override
from aime_agent.errors import ConfigError, nearest
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

_WIDTH_STEP = 8
_NOTHING: Mapping[str, Any] = {}
_RSSM: Mapping[str, Any] = {
    "max_components": 1,
    "context": "none",
    "use_attention": False,
    "use_slots": False,
}


class Arm(NamedTuple):
    """One row of the comparison."""

    name: str
    what: str
    """How it differs from its base, for people."""
    base: str = "default"
    world: Mapping[str, Any] = _NOTHING
    """Fields of `WorldModelConfig` that it changes."""
    agent: Mapping[str, Any] = _NOTHING
    """Fields of `AgentConfig` that it changes."""
    widen: bool = False
    """Whether h grows until the model has the default's number of parameters."""


ARMS: tuple[Arm, ...] = (
    Arm("default", "the preset", base=""),
    Arm("rssm", "the control, widened to the default's size", base="rssm_narrow", world=_RSSM, widen=True),
    Arm("rssm_narrow", "one Gaussian, no Perceiver, no attention, no slots", world=_RSSM),
    Arm("gaussian", "one component, K = 1", world={"max_components": 1}),
    Arm(
        "annealed",
        "temperature of the KL bound falls from K/2 to 1 over 30 % of the updates",
        agent={"schedule": {"tau_fraction": 0.3}},
    ),
    Arm("context_observed", "the LSTM reads the seen context where there is a frame", world={"context": "observed"}),
    Arm("context_none", "no Perceiver at all", world={"context": "none"}),
    Arm("no_attention", "no maps, no glimpse, no gain in the decoder", world={"use_attention": False}),
    Arm("no_slots", "no slots, hence no glimpse and no target for the maps", world={"use_slots": False}),
    Arm("no_consistency", "no open-loop consistency loss", world={"consistency_steps": 0}),
    Arm("reward_10", "reward loss × 10", world={"weights": {"reward": 10.0}}),
    Arm("rgb", "gradients balanced by rotation", world={"use_rgb": True}),
    Arm("norm_mean", "mean of unit gradients", world={"balancer": "norm_mean"}),
    Arm(
        "rgb_control",
        "reward, continuation and consistency as a task of their own",
        base="rgb",
        world={"use_rgb": True, "control_task": True},
    ),
)  # fmt: skip
"""In the order of the tables. A control task changes nothing under a plain sum, so its base is rgb."""


def find_arms(names: str) -> list[Arm]:
    """Returns the arms of a comma-separated list; ``all`` is all of them.

    Raises:
        ConfigError: a name is unknown; the message has the nearest.

    >>> [arm.name for arm in find_arms("rssm,default")]
    ['default', 'rssm']
    """
    wanted = [name.strip() for name in names.split(",")]
    known = [arm.name for arm in ARMS]
    if wanted == ["all"]:
        return list(ARMS)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown arm {name!r}. {nearest(name, known)}")
    return [arm for arm in ARMS if arm.name in wanted]


def arm_config(arm: Arm, preset_name: str, **sizes: Any) -> WorldModelConfig:
    """Returns the world model's settings of an arm.

    Args:
        arm: Which.
        preset_name: Preset that it starts from.
        **sizes: Fields that the task decides: ``action_dim``, ``image_size``.
    """
    base = preset(preset_name, **sizes)
    config = override(base, **arm.world)
    return widened(config, count_parameters(base)) if arm.widen else config


def arm_training(arm: Arm, preset_name: str, updates: int) -> AgentConfig:
    """Returns how an arm is fitted; schedules are stretched over the run."""
    config = agent_preset(preset_name, schedule={"total_steps": updates})
    return override(config, **arm.agent)


def widened(config: WorldModelConfig, target: int) -> WorldModelConfig:
    """Returns the settings with the width of h at which the size is nearest to ``target``."""
    low = high = config.hidden_dim
    while count_parameters(override(config, hidden_dim=high)) < target:
        low, high = high, high + max(_WIDTH_STEP, high // 4 // _WIDTH_STEP * _WIDTH_STEP)
    widths = range(low, high + 1, _WIDTH_STEP)
    return min(
        (override(config, hidden_dim=width) for width in widths),
        key=lambda c: abs(count_parameters(c) - target),
    )


def count_parameters(config: WorldModelConfig) -> int:
    """Returns the number of trainable parameters, without computing any."""
    import torch

    with torch.device("meta"):
        model = AimeWorldModel(config)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
