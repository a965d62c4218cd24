"""Sizes of meta-training: what a family needs of the seed's settings on a given machine."""

from typing import Any

from aime_agent.configs import override
from aime_agent.errors import ConfigError, nearest
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.symbolic.catalogue import SUITES

PRESETS: dict[str, dict[str, Any]] = {
    "seed": {},
    "smoke": {
        "tasks_per_batch": 2, "adaptation_steps": 1, "adaptation_lr": 0.03, "support_episodes": 4,
        "query_episodes": 4, "max_episode_steps": 20, "hidden_dim": 16, "num_attention_heads": 2,
        "meta_iterations": 2, "attention_save_interval": 2,
    },
    "cpu": {
        "meta_lr": 1e-3, "tasks_per_batch": 10, "adaptation_steps": 1, "adaptation_lr": 0.03,
        "support_episodes": 20, "query_episodes": 20, "hidden_dim": 32, "outer_epochs": 3,
        "meta_iterations": 100, "attention_save_interval": 25, "checkpoint_every": 10,
    },
    "gpu": {
        "meta_lr": 1e-3, "tasks_per_batch": 20, "adaptation_steps": 1, "adaptation_lr": 0.03,
        "support_episodes": 20, "query_episodes": 20, "hidden_dim": 256, "num_attention_heads": 8,
        "outer_epochs": 3, "meta_iterations": 300,
    },
}  # fmt: skip
_LAWS = {"baseline": "leave_one_out", "discount": 1.0, "policy_entropy_weight": 0.01}
"""A law is paid for at its end: its mean over other laws is the baseline, and time does not count."""


def meta_preset(name: str, family: str, **changes: Any) -> EnhancedMetaLearningConfig:
    """Returns settings for a family.

    Args:
        name: ``smoke``, ``cpu``, ``gpu``, or ``seed`` for the defaults.
        family: Whose tasks are trained on.
        **changes: Fields that differ.

    Raises:
        ConfigError: no such preset or field.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset is named {name!r}. {nearest(name, PRESETS)}")
    of_family = _LAWS if family in SUITES else {}
    return override(EnhancedMetaLearningConfig(), **(PRESETS[name] | of_family | changes))
