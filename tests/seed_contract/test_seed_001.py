"""Seed 001, the world model: its constructor, its training step and its table of shapes."""

import pytest
import torch

from aime_agent.optimization import RGB, LossAggregator
from aime_agent.world_model import AimeWorldModel, DPGMMVariationalRecurrentAutoencoder


def test_alias_is_the_model():
    assert DPGMMVariationalRecurrentAutoencoder is AimeWorldModel


def test_initialization():
    model = DPGMMVariationalRecurrentAutoencoder(
        # Perceiver IO
        perceiver_config={"codebook_size": 256, "context_dim": 256},
        # Generative Prior (DPGMM)
        max_components=15,
        latent_dim=36,
        # Encoder/Decoder
        encoder_config={"base_channels": 32},
        decoder_config={"base_channels": 32},
        # Temporal Dynamics
        hidden_dim=512,
        n_lstm_layers=1,
        use_orthogonal=True,
        # Attention Schema
        attention_config={"num_slots": 5, "slot_dim": 64},
        # Multi-Task Learning
        use_rgb=True,
        rgb_config={"mu": 0.9, "lambd": 1.0},
    ).eval()
    out = model.forward_sequence(torch.randn(1, 2, 3, 64, 64), torch.randn(1, 2, 6))
    assert model.perceiver.tokenizer.quantizer.codebook.shape[1] == 256
    assert out["slot_features"].shape == (1, 2, 5, 64)
    assert out["prior_params"]["pi"].shape == (1, 2, 15)


# Nothing in the example's data or losses concerns these: it passes no rewards and no ends, and its
# predictive task is made of attention KL, movement and diversity alone.
UNTOUCHED = ("reward_head.", "continuation_head.", "slot_decoder.")


def test_usage_example():
    # Create model
    model = DPGMMVariationalRecurrentAutoencoder(
        max_components=15,
        latent_dim=36,
        hidden_dim=512,
    )
    # Create loss aggregator and optimizer
    loss_agg = LossAggregator()
    rgb = RGB()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    # Training step; 2 sequences of 4 frames instead of 8 of 16 (one core)
    observations = torch.randn(2, 4, 3, 64, 64)  # Batch of sequences
    actions = torch.randn(2, 4, 6)
    # Forward
    outputs = model.forward_sequence(observations, actions)
    # Compute losses
    losses_dict, task_losses = loss_agg.compute_losses(outputs, beta=1.0, lambda_recon=1.0)
    # Backward with RGB
    optimizer.zero_grad()
    rgb.task_num = len(task_losses)
    rgb.device = observations.device
    rgb.rep_grad = False
    rgb.get_share_params = lambda: model.parameters()
    rgb.backward(task_losses)
    check_gradients(model)
    # Update
    before = model.dynamics.h_0.clone()
    optimizer.step()
    assert not torch.equal(before, model.dynamics.h_0)
    # Log
    for key in ("total_elbo", "perceiver_loss", "total_predictive"):
        assert f"{losses_dict[key].item():.4f}"
        assert losses_dict[key].isfinite()


def check_gradients(model):
    missing = {n for n, p in model.named_parameters() if p.grad is None}
    assert all(n.startswith(UNTOUCHED) for n in missing), missing
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_training_with_the_models_own_losses(tiny):
    losses_dict, outputs = tiny.compute_total_loss(
        torch.rand(2, 4, 3, 32, 32), torch.rand(2, 4, 6), torch.rand(2, 4), torch.zeros(2, 4) > 0
    )
    assert {"elbo", "perceiver", "predictive", "total"} <= set(losses_dict)
    total = losses_dict["elbo"] + losses_dict["perceiver"] + losses_dict["predictive"]
    torch.testing.assert_close(losses_dict["total"], total)
    assert outputs["reconstruction"].shape == (2, 4, 3, 32, 32)


def test_aggregator_needs_losses_of_a_training_pass(tiny):
    frames, actions = torch.rand(2, 4, 3, 32, 32), torch.rand(2, 4, 6)
    _, tasks = LossAggregator().compute_losses(tiny.forward_sequence(frames, actions))
    assert len(tasks) == 3
    assert all(task.requires_grad and task != 0 for task in tasks)


# "Tensor Shape Summary"; one map per slot has the side of seed 004 (21), not 8.
SHAPES = {
    "observations": (3, 64, 64),
    "context_sequence": (256,),
    "latents": (36,),
    "hidden_states": (512,),
    "slot_attention_maps": (4, 21, 21),
    "reconstructions": (3, 64, 64),
}


@pytest.mark.parametrize("key", SHAPES)
def test_tensor_shape_summary(traced, key):
    assert traced.outputs[key].shape == (traced.B, traced.T, *SHAPES[key])


def test_prior_samples_have_the_latents_shape(traced):
    noise = torch.randn(traced.B, traced.T, 36), torch.rand(traced.B, traced.T)
    assert traced.outputs.prior.sample(*noise).shape == (traced.B, traced.T, 36)
