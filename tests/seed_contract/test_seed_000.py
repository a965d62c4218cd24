"""Seed 000, the attention schema: what its README shows, run.

Its two test scripts ("Testing") and example 3 are in tests/attention/test_attention_schema.py; that
each setting acts is tested beside the module it belongs to.
"""

import pytest
import torch

from aime_agent.attention import (
    AttentionPosterior,
    AttentionPosteriorConfig,
    AttentionPrior,
    AttentionPriorConfig,
    AttentionSchema,
    AttentionSchemaConfig,
    ConvGRUCell,
    SlotAttention,
)
from aime_agent.optimization import LossWeights


def test_usage_example_1_standalone_posterior():
    posterior = AttentionPosterior(
        image_size=84,
        attention_resolution=21,
        hidden_dim=256,
        context_dim=128,
        num_semantic_slots=4,
        attention_fusion_mode="weighted",
        enforce_diversity=True,
    )
    obs = torch.randn(2, 3, 84, 84)  # Batch of 2 images
    h = torch.randn(2, 256)  # Hidden state from VRNN
    c = torch.randn(2, 128)  # Context from Perceiver
    attn_probs, coords = posterior(obs, h, c)
    assert attn_probs.shape == (2, 21, 21)
    assert coords.shape == (2, 2)
    assert posterior.slot_attention_maps.shape == (2, 4, 21, 21)
    assert posterior.slot_centers.shape == (2, 4, 2)
    assert posterior.diversity_loss.shape == ()


def test_usage_example_2_standalone_prior():
    prior = AttentionPrior(
        attention_resolution=21,
        hidden_dim=256,
        latent_dim=32,
        motion_kernels=8,
        use_checkpoint=True,  # Enable gradient checkpointing
    )
    prev_attn = torch.randn(2, 21, 21)  # Attention at t-1
    h = torch.randn(2, 256)  # Hidden state
    z = torch.randn(2, 32)  # Latent state
    pred_attn, info = prior(prev_attn, h, z)
    assert pred_attn.shape == (2, 21, 21)
    assert info["predicted_movement"][0].shape == (2, 21, 21)
    assert info["predicted_movement"][1].shape == (2, 21, 21)


def test_usage_example_4_visualization():
    net = AttentionSchema(image_size=84, hidden_dim=256, latent_dim=32, context_dim=128)
    obs, posterior = torch.rand(2, 3, 84, 84), net.posterior_net
    posterior(obs, torch.randn(2, 256), torch.randn(2, 128))
    vis_outputs = posterior.visualize_multi_object_attention(
        observation=obs,
        slot_attention_maps=posterior.slot_attention_maps,
        slot_centers=posterior.slot_centers,
        group_assignments=posterior.group_assignments,  # [B, 21, 21, K]
        return_mode="all",
    )
    assert vis_outputs["slot_overlays"].shape == (2 * 4, 3, 84, 84)
    assert vis_outputs["semantic_segmentation"].shape == (2, 3, 84, 84)
    assert vis_outputs["combined_with_contours"].shape == (2, 3, 84, 84)


def test_convgru_usage():
    conv_gru = ConvGRUCell(input_size=1, hidden_size=32, kernel_size=5, cuda_flag=True)
    attention_maps = torch.rand(3, 2, 21, 21)
    h = None  # Initialize to zeros
    for t in range(3):
        h = conv_gru(attention_maps[t].unsqueeze(1), h)
        assert h.shape == (2, 32, 21, 21)


def test_slot_attention_tensor_flow():
    attention = SlotAttention(num_slots=4, in_dim=64, slot_dim=64)
    slots, attn = attention(torch.randn(2, 441, 64))
    assert slots.shape == (2, 4, 64)
    torch.testing.assert_close(attn.sum(1), torch.ones(2, 441))  # over slots (not over inputs)


POSTERIOR = {
    "image_size": 84,
    "attention_resolution": 21,
    "hidden_dim": 256,
    "context_dim": 128,
    "feature_channels": 64,
    "num_semantic_slots": 4,
    "num_heads": 4,
    "attention_fusion_mode": "weighted",
    "enforce_diversity": True,
    "dropout_p": 0.2,
    "coord_noise_std": 0.0,
    "slot_iters": 3,
    "slot_mlp_hidden": 128,
}
PRIOR = {
    "attention_resolution": 21,
    "hidden_dim": 256,
    "latent_dim": 32,
    "motion_kernels": 8,
    "num_heads": 4,
    "feature_dim": 64,
    "use_relative_position_bias": True,
    "use_checkpoint": True,
    "dropout": 0.1,
    "convgru_hidden_size": 32,
    "convgru_kernel_size": 5,
}
# "Integration with VRNN", "Initialization"
SCHEMA = {
    "image_size": 84,
    "attention_resolution": 21,
    "hidden_dim": 256,
    "latent_dim": 32,
    "context_dim": 128,
    "attention_dim": 64,
    "input_channels": 3,
}


@pytest.mark.parametrize(
    ("config", "table"),
    [
        (AttentionPosteriorConfig(), POSTERIOR),
        (AttentionPriorConfig(), PRIOR),
        (AttentionSchemaConfig(), SCHEMA),
    ],
)
def test_hyperparameters_are_the_defaults(config, table):
    assert {name: getattr(config, name) for name in table} == table


def test_loss_weights_are_the_defaults():
    assert (LossWeights().movement, LossWeights().diversity) == (0.1, 0.05)


def test_integration_with_vrnn_returns_these_keys(tiny):
    out = tiny.forward_sequence(torch.rand(2, 5, 3, 32, 32), torch.rand(2, 5, 6))
    assert out["reconstruction"].shape == (2, 5, 3, 32, 32)
    assert out["attention_maps"].shape == (2, 5, 8, 8)
    weighed = 0.1 * out["dynamics_loss"] + 0.05 * out["diversity_loss"]
    assert weighed.shape == ()
    assert weighed.requires_grad


def test_movements_of_a_pass_fit_the_dynamics_loss(tiny):
    out = tiny.forward_sequence(torch.rand(2, 5, 3, 32, 32), torch.rand(2, 5, 6))
    attention_sequence = list(out["attention_maps"].unbind(1))
    schema = AttentionSchema(image_size=32, attention_resolution=8, hidden_dim=8)
    loss = schema.compute_attention_dynamics_loss(attention_sequence, out["predicted_movements"])
    assert len(out["predicted_movements"]) == 4  # predicted if t > 0
    assert loss.isfinite()
