"""Settings of the agent that go with each preset of the world model."""

from collections.abc import Mapping
from typing import Any

from aime_agent.agents.config import AgentConfig
from aime_agent.configs import override
from aime_agent.errors import ConfigError, nearest
from aime_agent.optimization.schedules import ScheduleConfig

_SEEDS: Mapping[str, Any] = {
    "learning_rate": 2e-4,
    "grad_clip": 5.0,
    "slot_grad_clip": 5.0,
    "ema_decay": 0.995,
    "augment": "zoom",
    "augment_probability": 0.6,
    "schedule": ScheduleConfig(),
    "actor_units": 256,
}

AGENT_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"actor_units": 64, "dream_starts": 32},
    "small": {
        "actor_learning_rate": 5e-4,
        "critic_learning_rate": 1e-3,
        "actor_max_std": 0.6,
        "dream_temperature": 0.0,
        "dream_starts": 64,
        "horizon": 10,
    },
    "base": _SEEDS,
    "seed84": _SEEDS,
}
"""What each preset changes in `AgentConfig`; ``base`` has the seed documents' training values."""


def agent_preset(name: str, **changes: Any) -> AgentConfig:
    """Returns the agent's settings of a preset, with single fields changed.

    Raises:
        ConfigError: the preset or a field is unknown; the message names the nearest.
    """
    if name not in AGENT_PRESETS:
        raise ConfigError(f"preset {name!r} is unknown. {nearest(name, AGENT_PRESETS)}")
    return override(override(AgentConfig(), **AGENT_PRESETS[name]), **changes)
