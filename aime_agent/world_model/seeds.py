"""The seed documents' keywords, translated to `WorldModelConfig` and `LossWeights`.

Three styles of constructor occur in them; all of their names work here. A keyword becomes one or
more paths, ``field`` or ``group.field``, so a size that pillars share is the model's wherever it was
written. Names that mean something which lives elsewhere (a learning rate) or nowhere (noise on slot
coordinates) raise and say so; ``device`` is accepted and ignored: move the model instead.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.optimization.loss_aggregator import LossWeights
from aime_agent.world_model.config import WorldModelConfig

PATHS: Mapping[str, tuple[str, ...]] = {
    "input_dim": ("image_size",),
    "input_channels": ("image_channels",),
    "in_channels": ("image_channels",),
    "attention_dim": ("slot_dim",),
    "num_semantic_slots": ("num_slots",),
    "num_attention_slots": ("num_slots",),
    "number_lstm_layer": ("n_lstm_layers",),
    "img_perceiver_channels": ("perceiver.base_channels",),
    "num_latent_perceiver": ("perceiver.num_latents",),
    "num_latent_channels_perceiver": ("context_dim", "perceiver.num_latent_channels"),
    "num_codebook_perceiver": ("perceiver.num_codes",),
    "perceiver_code_dim": ("perceiver.code_dim",),
    "downsample_perceiver": ("perceiver.downsample",),
    "num_encoder_perceiver_layers": ("perceiver.num_encoder_layers",),
    "num_perceiver_heads": ("perceiver.num_attention_heads",),
    "context_window_size": ("perceiver.window",),
    "img_disc_layers": ("adversarial.num_layers",),
    "disc_num_heads": ("adversarial.num_heads",),
    "patch_size": ("adversarial.patch_size",),
    "dropout": ("perceiver.dropout", "attention_prior.dropout"),
}
"""Seed keyword → the settings it means."""

GROUPS: Mapping[str, str] = {
    "perceiver_config": "perceiver",
    "encoder_config": "encoder",
    "decoder_config": "decoder",
    "attention_config": "slots",
    "rgb_config": "rgb",
    **{
        name: name
        for name in (
            "perceiver",
            "encoder",
            "decoder",
            "slots",
            "attention_prior",
            "adversarial",
            "rgb",
        )
    },
}
"""Keyword whose value is a dictionary → the group of settings it belongs to."""

SHARED = (
    "image_size",
    "image_channels",
    "action_dim",
    "latent_dim",
    "hidden_dim",
    "context_dim",
    "num_slots",
    "slot_dim",
    "attention_resolution",
    "patch",
)
"""Sizes of the model that a group may name as well."""

INSIDE: Mapping[str, str] = {
    "perceiver.codebook_size": "perceiver.num_codes",
    "encoder.base_channels": "base_channels",
    "slots.feature_channels": "slot_dim",
    "slots.slot_iters": "slots.first_iterations",
    **{
        f"slots.{name}": f"attention_prior.{name}"
        for name in (
            "motion_kernels",
            "num_heads",
            "feature_dim",
            "use_relative_position_bias",
            "use_checkpoint",
            "dropout",
            "convgru_hidden_size",
            "convgru_kernel_size",
        )
    },
}
"""Names inside a group that mean another setting."""

ELSEWHERE: Mapping[str, str] = {
    "batch_size": "TrainConfig.batch_size",
    "sequence_length": "TrainConfig.sequence_length",
    "learning_rate": "AgentConfig.learning_rate",
    "grad_clip": "AgentConfig.grad_clip",
    "warmup_epochs": "ScheduleConfig.adversarial_fraction",
}
"""Keywords of the training → where they are set."""

_STREAM = "it belongs to AttentionPosterior; here slots are filtered over time"
ABSENT: Mapping[str, str] = {
    "weight_decay": "the optimiser takes it: make_optimizer(..., weight_decay=...)",
    "perceiver_lr_multiplier": "all pillars share one learning rate",
    "slots.attention_fusion_mode": f"{_STREAM} and fused with the prediction by a learned gate",
    "slots.dropout_p": _STREAM,
    "slots.coord_noise_std": _STREAM,
    "slots.enforce_diversity": "set weights={'diversity': 0.0} to do without that loss",
}
"""Seed keywords that cannot act → why."""

_WEIGHTS = {
    "entropy_weight": "usage",
    "lambda_recon": "reconstruction",
    "lambda_att_dyn": "movement",
    "lambda_diversity": "diversity",
    "lambda_gram": "gram",
}


def seed_config(config: WorldModelConfig, given: Mapping[str, Any]) -> WorldModelConfig:
    """Applies keywords, ours or the seeds', to a configuration.

    Raises:
        ConfigError: a keyword is unknown, contradicts another, or means nothing here.
    """
    found: dict[str, Any] = {}
    for path, value in _paths(given):
        if path in found and found[path] != value:
            raise ConfigError(f"{path} is given twice, as {found[path]!r} and as {value!r}")
        found[path] = value
    changes: dict[str, Any] = {}
    for path, value in found.items():
        group, _, name = path.rpartition(".")
        if group:
            changes.setdefault(group, dict(getattr(config, group)))[name] = value
        else:
            changes[name] = value
    return override(config, **changes)


def seed_weights(
    weights: LossWeights, given: Mapping[str, float], has_teacher: bool = False
) -> LossWeights:
    """Applies the seeds' loss weights (or fields of `LossWeights`).

    Raises:
        ConfigError: a name is unknown, or weighs a term that this pass cannot have.
    """
    for name in ("lambda_gram", "gram"):
        if given.get(name) and not has_teacher:
            raise ConfigError(
                f"{name} weighs a Gram loss against a slow copy of the model: pass it as teacher= "
                "(EMA(model).module), or leave the weight out"
            )
    for name in ("generator", "feature_matching"):
        if given.get(name):
            raise ConfigError(
                f"{name} weighs what discriminators say, and this pass has none: set it in the "
                "model's config (weights) and call fit(..., discriminators=...)"
            )
    return override(weights, **{_WEIGHTS.get(k, k): v for k, v in given.items()})


def _paths(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields every setting that the keywords name, dictionaries taken apart."""
    for key, value in given.items():
        _refuse(key, key)
        if key in GROUPS:
            for name, inner in value.items():
                yield from _linked(_inside(GROUPS[key], name), inner)
        elif key != "device":
            for path in PATHS.get(key, (key,)):
                yield from _linked(path, value)


def _inside(group: str, name: str) -> str:
    """Returns the setting that a name inside a group means."""
    path = f"{group}.{name}"
    _refuse(path, name)
    if path in INSIDE:
        return INSIDE[path]
    alias = PATHS.get(name, (name,))[0]
    return alias if alias in SHARED else path


def _linked(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields a setting and those that follow from it.

    Tokens are the trunk's middle map, two patches wide: ``downsample`` and ``patch`` go together.
    """
    if path == "perceiver.video_shape":
        _, channels, height, width = value
        if height != width:
            raise ConfigError(f"video_shape must be square, found {height} by {width}")
        yield from (("image_channels", channels), ("image_size", height))
        return
    yield path, value
    if path == "perceiver.downsample":
        yield "patch", value // 2
    elif path == "patch":
        yield "perceiver.downsample", 2 * value


def _refuse(path: str, name: str) -> None:
    if path in ELSEWHERE:
        raise ConfigError(f"{name} is a setting of the training: use {ELSEWHERE[path]}")
    if path in ABSENT:
        raise ConfigError(f"{name} cannot act here: {ABSENT[path]}")
