"""Every seed keyword of the world model acts, or says why it cannot.

Constructors: seed 001, "Initialization" and "Hyperparameters (Current)"; seed 004, "Default
Configuration"; the rest are the names that `aime_agent.world_model.seeds` knows.
"""

import importlib
from dataclasses import fields

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.optimization import RGB, PlainSum
from aime_agent.world_model import (
    DPGMMVariationalRecurrentAutoencoder,
    WorldModelConfig,
    preset,
    seeds,
)

TINY = preset("tiny", image_size=32)

# Each of these changes the number of parameters.
SIZES = {
    "input_dim": 48,
    "image_size": 48,
    "input_channels": 1,
    "in_channels": 1,
    "image_channels": 1,
    "attention_dim": 16,
    "slot_dim": 16,
    "num_semantic_slots": 5,
    "num_attention_slots": 5,
    "num_slots": 5,
    "number_lstm_layer": 2,
    "n_lstm_layers": 2,
    "max_components": 4,
    "latent_dim": 8,
    "hidden_dim": 48,
    "context_dim": 16,
    "action_dim": 21,
    "attention_resolution": 6,
    "img_perceiver_channels": 8,
    "num_latent_perceiver": 6,
    "num_latent_channels_perceiver": 16,
    "num_codebook_perceiver": 32,
    "perceiver_code_dim": 4,
    "downsample_perceiver": 4,
    "num_encoder_perceiver_layers": 1,
    "context_window_size": 4,
    "perceiver_config": {"codebook_size": 256},
    "perceiver": {"num_latents": 6},
    "encoder_config": {"base_channels": 16},
    "encoder": {"units": 32},
    "decoder_config": {"base_channels": 16},
    "decoder": {"base_channels": 16},
    "attention_config": {"num_slots": 5},
    "slots": {"slot_mlp_hidden": 16},
    "attention_prior": {"motion_kernels": 3},
}
INSIDE = {
    "perceiver_config": {
        "codebook_size": 256,
        "context_dim": 16,
        "in_channels": 1,
        "video_shape": (16, 1, 48, 48),
        "num_latents": 6,
        "num_latent_channels": 16,
        "num_encoder_layers": 1,
        "code_dim": 4,
        "num_codes": 32,
        "downsample": 4,
        "base_channels": 8,
        "num_quantizers": 2,
        "window": 4,
    },
    "encoder_config": {"base_channels": 16, "image_size": 48, "latent_dim": 8, "context_dim": 16},
    "decoder_config": {"base_channels": 16, "image_channels": 1, "latent_dim": 8},
    "attention_config": {
        "num_slots": 5,
        "num_semantic_slots": 5,
        "slot_dim": 16,
        "feature_channels": 16,
        "attention_resolution": 6,
        "slot_mlp_hidden": 16,
        "motion_kernels": 3,
        "feature_dim": 12,
        "convgru_hidden_size": 6,
        "convgru_kernel_size": 5,
        "hidden_dim": 48,
        "latent_dim": 8,
        "context_dim": 16,
        "image_size": 48,
        "input_channels": 1,
    },
}


# Of discriminators, which are built beside the model: keyword → setting and a value for it.
DISCRIMINATOR = {
    "img_disc_layers": ("num_layers", 2),
    "disc_num_heads": ("num_heads", 2),
    "patch_size": ("patch_size", 8),
}


def build(**keywords):
    torch.manual_seed(0)
    return DPGMMVariationalRecurrentAutoencoder(TINY, **keywords)


def size(**keywords):
    return sum(p.numel() for p in build(**keywords).parameters())


UNCHANGED = size()


def decoded(model):
    """A number that depends on every pillar, from frames of the model's own shape."""
    c = model.config
    torch.manual_seed(1)
    frames = torch.rand(2, 3, c.image_channels, c.image_size, c.image_size)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    out = model.forward_sequence(frames, torch.rand(2, 3, c.action_dim))
    return torch.stack([out["latents"].sum(), out["attention_maps"].square().sum()])


@pytest.mark.parametrize("name", SIZES)
def test_size_changes_the_parameters(name):
    assert size(**{name: SIZES[name]}) != UNCHANGED


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in INSIDE.items() for n in names])
def test_nested_size_changes_the_parameters(group, name):
    assert size(**{group: {name: INSIDE[group][name]}}) != UNCHANGED


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 48},
        {"input_channels": 1},
        {"downsample_perceiver": 4},
        {"patch": 2},
        {"encoder_config": {"base_channels": 16}},
        {"decoder_config": {"base_channels": 16}},
        {"perceiver_config": {"video_shape": (16, 1, 48, 48), "num_quantizers": 2}},
        {"attention_config": {"num_slots": 5, "slot_dim": 16, "convgru_hidden_size": 6}},
        {"number_lstm_layer": 2, "max_components": 1, "num_latent_channels_perceiver": 16},
    ],
)
def test_changed_models_still_run(change):
    assert decoded(build(**change)).isfinite().all()


@pytest.mark.parametrize(
    "change",
    [
        {"num_perceiver_heads": 4},
        {"perceiver_config": {"num_attention_heads": 4}},
        {"use_orthogonal": False},
        {"dropout": 0.5},
        {"perceiver_config": {"dropout": 0.5}},
        {"attention_config": {"slot_iters": 3}},
    ],
)
def test_keyword_changes_the_output(change):
    assert not torch.equal(decoded(build(**change)), decoded(build()))


@pytest.mark.parametrize("name", ["num_heads", "use_relative_position_bias"])
def test_self_attention_of_the_prediction_acts(name):
    on = {"self_attention": True, "feature_dim": 8}
    values = ({"num_heads": 2}, {"num_heads": 4}) if name == "num_heads" else (
        {name: True}, {name: False}
    )  # fmt: skip
    a, b = (decoded(build(attention_prior=on, attention_config=v)) for v in values)
    assert not torch.equal(a, b)


def saved_bytes(model):
    total = 0

    def pack(x):
        nonlocal total
        total += x.numel()
        return x

    prior = model.attention_prior
    inputs = (
        prior.initial_attention(2),
        prior.initial_memory(2),
        torch.rand(2, 64),
        torch.rand(2, 12),
    )
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        prior.predict(*inputs)
    return total


def test_checkpointing_saves_memory():
    on = {"self_attention": True, "feature_dim": 8}
    less, more = (
        saved_bytes(build(attention_prior=on, attention_config={"use_checkpoint": c}))
        for c in (True, False)
    )
    assert less < more


def test_dropout_of_the_prediction_acts():
    config = build(attention_config={"dropout": 0.5}).config
    assert config.attention_prior["dropout"] == 0.5
    assert config.perceiver_config().dropout == 0.0
    assert build(dropout=0.5).config.perceiver_config().dropout == 0.5


@pytest.mark.parametrize("name", ["prior_alpha", "prior_beta"])
def test_hyper_prior_changes_the_stick_loss(name):
    a, b = (build(**{name: v}).prior for v in (2.0, 5.0))
    h = torch.randn(3, 96)
    assert not torch.allclose(a.regulariser(a.infer(h)), b.regulariser(a.infer(h)))


def test_rgb_keywords_choose_the_balancer():
    model = build(use_rgb=True, rgb_config={"mu": 0.5, "lambd": 2.0, "alpha_steps": 5})
    balancer = model.make_balancer()
    assert isinstance(balancer, RGB)
    assert (balancer.config.mu, balancer.config.lambd, balancer.config.alpha_steps) == (0.5, 2.0, 5)
    assert isinstance(build(use_rgb=False).make_balancer(), PlainSum)


def test_downsample_is_the_image_over_the_token_grid():
    for downsample, patch, grid in ((4, 2, (8, 8)), (8, 4, (4, 4)), (16, 8, (2, 2))):
        model = build(downsample_perceiver=downsample)
        assert model.perceiver.grid == grid
        assert build(patch=patch).config.perceiver["downsample"] == downsample


def test_shared_sizes_are_stated_once_wherever_they_are_written():
    config = build(
        encoder_config={"base_channels": 16}, perceiver_config={"context_dim": 48}
    ).config
    assert (config.base_channels, config.context_dim) == (16, 48)
    assert config.decoder_config().base_channels == 16
    assert "context_dim" not in config.perceiver


def test_keywords_keep_what_the_preset_says_beside_them():
    config = build(num_latent_perceiver=6).config
    assert config.perceiver == {**TINY.perceiver, "num_latents": 6}


def test_device_is_ignored():
    assert size(device="cuda") == UNCHANGED


@pytest.mark.parametrize("name", DISCRIMINATOR)
def test_discriminator_keyword_sizes_what_is_built_beside_the_model(name):
    field, value = DISCRIMINATOR[name]
    with pytest.raises(ConfigError, match="the task is off"):
        build(**{name: value})
    model = build(**{name: value}, weights={"generator": 0.1})
    assert getattr(model.make_discriminators().config, field) == value
    same = build(adversarial={field: value}, weights={"generator": 0.1})
    assert model.config == same.config


def test_contradiction_is_named():
    with pytest.raises(ConfigError, match="num_slots is given twice, as 4 and as 5"):
        build(num_attention_slots=4, attention_config={"num_slots": 5})
    assert build(num_attention_slots=5, attention_config={"num_slots": 5}).config.num_slots == 5


@pytest.mark.parametrize("name", seeds.ELSEWHERE)
def test_training_keyword_raises_and_names_a_setting_that_exists(name):
    owner, field = seeds.ELSEWHERE[name].split(".")
    home = {
        "TrainConfig": "aime_agent.training.config",
        "AgentConfig": "aime_agent.agents.config",
        "ScheduleConfig": "aime_agent.optimization.schedules",
    }[owner]
    assert field in {f.name for f in fields(getattr(importlib.import_module(home), owner))}
    with pytest.raises(ConfigError, match=seeds.ELSEWHERE[name]):
        build(**{name: 1})


@pytest.mark.parametrize("path", seeds.ABSENT)
def test_keyword_that_cannot_act_says_why(path):
    group, _, name = path.rpartition(".")
    given = {"attention_config": {name: 1}} if group else {name: 1}
    with pytest.raises(ConfigError, match=f"{name} cannot act here: "):
        build(**given)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_slotz": 4}, "Did you mean 'num_slots'"),
        ({"perceiver_config": {"codebok_size": 4}}, "Did you mean 'codebook_size'"),
        ({"attention_config": {"slot_mlp_hiden": 4}}, "Did you mean 'slot_mlp_hidden'"),
        ({"rgb_config": {"lambda": 1.0}, "use_rgb": True}, "Did you mean 'lambd'"),
        ({"perceiver_config": {"use_3d_conv": True}}, "use_3d_conv needs an own encoder"),
        ({"perceiver_config": {"video_shape": (16, 3, 48, 64)}}, "must be square"),
    ],
)
def test_bad_keyword_is_named(change, text):
    with pytest.raises(ConfigError, match=text):
        build(**change).make_balancer()


def test_every_known_keyword_is_tested_here():
    others = {"num_perceiver_heads", "dropout", "rgb_config", "rgb", "adversarial"}
    others |= set(DISCRIMINATOR)
    assert {*seeds.PATHS, *seeds.GROUPS} - others <= set(SIZES)
    assert set(seeds.SHARED) - {"patch"} <= {f.name for f in fields(WorldModelConfig)} & set(SIZES)


def losses(model, **weights):
    torch.manual_seed(2)
    frames, actions = torch.rand(2, 4, 3, 32, 32), torch.rand(2, 4, 6)
    return model.compute_total_loss(frames, actions, **weights)[0]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("beta", "elbo"),
        ("entropy_weight", "elbo"),
        ("lambda_recon", "elbo"),
        ("lambda_att_dyn", "predictive"),
        ("lambda_diversity", "predictive"),
    ],
)
def test_loss_weight_changes_its_task(tiny, name, task):
    with torch.no_grad():
        plain, changed = losses(tiny), losses(tiny, **{name: 3.0})
    assert plain[task] != changed[task]
    assert plain["perceiver"] == changed["perceiver"]


def test_gram_loss_is_refused_unless_it_weighs_nothing(tiny):
    with pytest.raises(ConfigError, match="lambda_gram weighs a Gram loss"):
        losses(tiny, lambda_gram=0.05)
    assert losses(tiny, lambda_gram=0.0)["total"].isfinite()


def test_weights_may_be_given_as_a_dictionary():
    config = build(weights={"diversity": 0.0}).config
    assert config.weights.diversity == 0.0
    assert config.weights.movement == TINY.weights.movement
