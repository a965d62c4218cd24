"""The presets of `WorldModelConfig`.

``tiny`` is for tests, ``small`` for two CPU cores, ``base`` has the seed documents' sizes, ``seed84``
their 84-pixel variant.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from aime_agent.configs import override
from aime_agent.errors import ConfigError, nearest
from aime_agent.world_model.config import WorldModelConfig

PresetName = Literal["tiny", "small", "base", "seed84"]

_COMPACT_PRIOR = {
    "pooled_resolution": 8,
    "motion_kernels": 0,
    "feature_dim": 8,
    "convgru_hidden_size": 8,
    "convgru_kernel_size": 3,
    "self_attention": False,
    "group_norm": False,
    "use_checkpoint": False,
    "dropout": 0.0,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "use_rgb": False,
        "latent_dim": 12,
        "hidden_dim": 64,
        "context_dim": 32,
        "max_components": 5,
        "num_slots": 3,
        "slot_dim": 24,
        "attention_resolution": 8,
        "base_channels": 8,
        "units": 64,
        "head_units": 48,
        "slot_decoder_units": 32,
        "perceiver": {
            "num_latents": 4,
            "num_latent_channels": 32,
            "num_attention_heads": 2,
            "num_encoder_layers": 0,
            "widening_factor": 2,
            "code_dim": 8,
            "num_codes": 64,
            "query_dim": 16,
            "base_channels": 16,
            "decoder": "patch",
        },
        "encoder": {"embedding_dim": 64},
        "slots": {"token_channels": 16, "slot_mlp_hidden": 32, "first_iterations": 1},
        "attention_prior": {**_COMPACT_PRIOR, "pooled_resolution": 4, "convgru_hidden_size": 4},
    },
    "small": {
        "use_rgb": False,
        "disagreement_heads": 4,
        "consistency_every": 4,
        "weights": {"consistency": 1.0},
        "latent_dim": 32,
        "hidden_dim": 256,
        "context_dim": 64,
        "max_components": 15,
        "num_slots": 4,
        "slot_dim": 32,
        "attention_resolution": 16,
        "base_channels": 16,
        "units": 192,
        "head_units": 96,
        "slot_decoder_units": 64,
        "perceiver": {
            "num_latents": 8,
            "num_latent_channels": 48,
            "num_attention_heads": 4,
            "num_encoder_layers": 0,
            "widening_factor": 2,
            "code_dim": 16,
            "num_codes": 256,
            "query_dim": 32,
            "base_channels": 32,
            "decoder": "patch",
            "decay": 0.9,
        },
        "slots": {"token_channels": 32, "slot_mlp_hidden": 64, "first_iterations": 1},
        "attention_prior": _COMPACT_PRIOR,
    },
    "base": {},
    "seed84": {
        "image_size": 84,
        "hidden_dim": 256,
        "latent_dim": 32,
        "context_dim": 128,
        "perceiver": {"num_latent_channels": 128},
    },
}
"""What each preset changes in `WorldModelConfig`."""


def preset(name: str, **changes: Any) -> WorldModelConfig:
    """Returns the configuration of a preset, with single fields changed.

    Raises:
        ConfigError: the preset or a field is unknown; the message names the nearest.

    >>> preset("small", action_dim=21).hidden_dim
    256
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown. {nearest(name, get_args(PresetName))}")
    settings: dict[str, Any] = dict(PRESETS[name])
    for key, value in changes.items():
        old = settings.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            settings[key] = {**old, **value}
        else:
            settings[key] = value
    return override(WorldModelConfig(), **settings)
