"""Seed 004, the tensor shapes: its tables, its checklist, and its five common errors."""

import pytest
import torch

from aime_agent import validate_shape
from aime_agent.attention import AttentionPrior, AttentionSchema, SlotAttention
from aime_agent.dynamics import LSTMLayer
from aime_agent.errors import ShapeError
from aime_agent.perception import CausalPerceiverIO, VQPTTokenizer
from aime_agent.representation import DPGMMPrior, VAEDecoder, VAEEncoder
from aime_agent.world_model import DPGMMVariationalRecurrentAutoencoder

# The table "Key Tensor Shapes at a Glance" says (after batch and time):
GLANCE = {
    "observations": (3, 64, 64),
    "context_sequence": (256,),
    "latents": (36,),
    "hidden_states": (512,),
    "attention_maps": (21, 21),
    "slot_features": (4, 64),
    "reconstructions": (3, 64, 64),
}


@pytest.mark.parametrize("key", GLANCE)
def test_key_tensor_shapes(traced, key):
    assert traced.outputs[key].shape == (traced.B, traced.T, *GLANCE[key])


def test_key_tensor_shapes_of_tokens_and_weights(traced):
    assert traced.outputs.tokens.ids.shape == (traced.B * traced.T, 8, 8)
    assert traced.outputs["prior_params"]["pi"].shape == (traced.B, traced.T, 15)


# "Default Configuration", without "Training" (which raises: see test_keywords)
CONFIG = {
    "max_components": 15,
    "input_dim": 64,
    "latent_dim": 36,
    "hidden_dim": 512,
    "attention_dim": 64,
    "action_dim": 6,
    "num_latent_perceiver": 128,
    "num_latent_channels_perceiver": 256,
    "num_codebook_perceiver": 1024,
    "perceiver_code_dim": 256,
    "downsample_perceiver": 4,
    "attention_resolution": 21,
    "num_semantic_slots": 4,
}


def test_default_configuration_and_derived_shapes():
    model = DPGMMVariationalRecurrentAutoencoder(**CONFIG)
    # The token grid is the image over downsample_perceiver: 64 over 4 is 16.
    assert model.perceiver.grid == (16, 16)
    assert model.perceiver.config.num_latents == 128
    assert model.perceiver.tokenizer.quantizer.codebook.shape == (1, 1024, 256)


# ------------------------------------------------------------------ "Per-Component Shapes"


def test_vqpt_tokenizer():
    tokenizer = VQPTTokenizer(code_dim=16, num_codes=32, base_channels=8)
    video = torch.rand(2, 3, 3, 64, 64)
    tokens, vq_loss, perplexity = tokenizer.encode(video)
    assert tokens.shape == (2, 3, 8, 8)
    assert 0 <= tokens.min() <= tokens.max() < 32
    assert vq_loss.shape == perplexity.shape == ()
    assert tokenizer.decode(tokens).shape == video.shape


def test_causal_perceiver_io():
    perceiver = CausalPerceiverIO(
        num_latents=4, num_latent_channels=16, num_encoder_layers=1, code_dim=8, base_channels=8
    )
    assert perceiver.extract_context(torch.rand(2, 3, 3, 64, 64)).shape == (2, 3, 16)


def test_dpgmm_prior():
    prior_params = DPGMMPrior()(torch.randn(8, 512 + 256), n_samples=10)
    shapes = {
        "pi": (8, 15),
        "means": (8, 15, 36),
        "log_vars": (8, 15, 36),
        "kumar_a": (8, 14),
        "kumar_b": (8, 14),
        "alpha": (8, 10),
    }
    assert {key: tuple(prior_params[key].shape) for key in shapes} == shapes
    torch.testing.assert_close(prior_params["pi"].sum(1), torch.ones(8))


def test_lstm_layer():
    lstm = LSTMLayer(36 + 256 + 6, 512)
    zeros = torch.zeros(1, 8, 512)
    h_t, (h_new, c_new) = lstm(torch.randn(8, 298), (zeros, zeros))
    assert h_t.shape == (8, 512)
    assert h_new.shape == c_new.shape == (1, 8, 512)
    assert lstm(torch.randn(8, 16, 298), (zeros, zeros))[0].shape == (8, 16, 512)


def test_slot_attention():
    slots, attn = SlotAttention()(torch.randn(8, 441, 64), seed_slots=torch.randn(8, 4, 64))
    assert slots.shape == (8, 4, 64)
    assert attn.shape == (8, 4, 441)
    torch.testing.assert_close(attn.sum(1), torch.ones(8, 441))


def test_attention_schema():
    attention = AttentionSchema(image_size=64, hidden_dim=512, context_dim=256)
    maps, coords = attention(torch.randn(2, 3, 64, 64), torch.randn(2, 512), torch.randn(2, 256))
    assert maps.shape == (2, 21, 21)
    assert coords.shape == (2, 2)
    assert coords.abs().max() <= 1
    fused_feat = torch.randn(2, 64, 21, 21)
    again = attention(
        torch.randn(2, 3, 64, 64), torch.randn(2, 512), torch.randn(2, 256), fused_feat
    )
    assert again[0].shape == (2, 21, 21)


def test_vae_encoder_and_decoder():
    z_params = VAEEncoder()(torch.randn(8, 3, 64, 64), torch.randn(8, 256))
    assert z_params["mu"].shape == z_params["logvar"].shape == (8, 36)
    assert VAEDecoder()(z_params["mu"], torch.rand(8, 21, 21)).shape == (8, 3, 64, 64)


# ------------------------------------------------------------------ "Shape Validation Checklist"


def test_checklist_prior_weights_sum_to_one(traced):
    params = traced.outputs["prior_params"]
    torch.testing.assert_close(params["pi"].sum(-1), torch.ones(traced.B, traced.T))
    assert params["means"].shape == params["log_vars"].shape == (traced.B, traced.T, 15, 36)
    assert params["kumar_a"].shape == params["kumar_b"].shape == (traced.B, traced.T, 14)


def test_checklist_attention_is_a_distribution(traced):
    maps = traced.outputs["attention_maps"]
    assert 0 <= maps.min() <= maps.max() <= 1
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(traced.B, traced.T))
    groups = traced.outputs["group_assignments"]
    torch.testing.assert_close(groups.sum(-1), torch.ones(traced.B, traced.T, 21, 21))


def test_checklist_losses(traced):
    outputs = traced.outputs
    scalars = ("dynamics_loss", "diversity_loss", "perceiver_vq_loss", "perplexity")
    assert all(outputs[key].shape == () for key in scalars)
    steps = {k: torch.stack(outputs[k]) for k in ("reconstruction_losses", "kl_latents")}
    assert all(value.shape == (traced.T, traced.B) for value in steps.values())
    assert all((value >= 0).all() and value.isfinite().all() for value in steps.values())
    assert (torch.stack(outputs["kumaraswamy_kl_losses"]) >= 0).all()
    assert (torch.stack(outputs["attention_losses"]) >= 0).all()


def test_checklist_lstm_and_single_frames(traced):
    model, outputs = traced.model, traced.outputs
    assert model.dynamics.lstm.input_size == 36 + 256 + 6
    belief = model.infer(model.initial_state(traced.B), traced.observations[:, 0])
    assert belief.mean.shape == outputs["z_means"][:, 0].shape == (traced.B, 36)
    assert belief.state.hidden.shape == belief.state.cell.shape == (traced.B, 512)


@pytest.mark.parametrize(
    ("observations", "actions", "text"),
    [
        ((2, 4, 1, 32, 32), (2, 4, 6), "observations: dimension 2 must be 3, found 1"),
        ((2, 4, 3, 64, 64), (2, 4, 6), "observations: dimension 3 must be 32, found 64"),
        ((4, 3, 32, 32), (2, 4, 6), "observations: 5 dimensions required"),
        ((2, 4, 3, 32, 32), (3, 4, 6), "actions: dimension 0 must be 2, found 3"),
        ((2, 4, 3, 32, 32), (2, 5, 6), "actions: dimension 1 must be 4, found 5"),
        ((2, 4, 3, 32, 32), (2, 4, 21), "actions: dimension 2 must be 6, found 21"),
    ],
)
def test_checklist_input_validation(tiny, observations, actions, text):
    with pytest.raises(ShapeError, match=text):
        tiny.forward_sequence(torch.rand(observations), torch.rand(actions))


# ------------------------------------------------------------------ "Common Shape Errors"


def test_error_1_all_frames_at_once_in_the_lstm():
    lstm, state = LSTMLayer(298, 512), torch.zeros(8, 512)
    with pytest.raises(ShapeError, match=r"pass one frame, x\[:, t\] of shape \[B, D\]"):
        lstm(torch.randn(128, 298), (state, state))


def test_error_1_context_as_cell_state():
    with pytest.raises(ShapeError, match="`context` is no cell state"):
        LSTMLayer(298, 512)(torch.randn(8, 298), (torch.zeros(8, 512), torch.zeros(8, 256)))


def test_error_2_attention_map_of_another_size():
    # The decoder resizes maps of any size itself, as the seed's solution does.
    assert VAEDecoder()(torch.randn(2, 36), torch.rand(2, 21, 21)).shape == (2, 3, 64, 64)
    with pytest.raises(ShapeError, match="must be 21, found 64"):
        AttentionPrior()(torch.rand(2, 64, 64), torch.randn(2, 256), torch.randn(2, 32))


def test_error_3_tokens_after_temporal_downsampling():
    settings = {"code_dim": 8, "num_codes": 16, "base_channels": 8}
    tokenizer = VQPTTokenizer(use_3d_conv=True, temporal_downsample=True, **settings)
    tokens = tokenizer.encode(torch.rand(1, 4, 3, 64, 64)).tokens
    assert tokens.shape == (1, 4, 8, 8)  # one grid per frame
    with pytest.raises(ShapeError, match="repeated forward to all T frames"):
        tokenizer.decode(tokens.flatten(1))


def test_error_4_hidden_state_without_context():
    with pytest.raises(ShapeError, match=r"pass torch.cat\(\[hidden, context\], dim=-1\)"):
        DPGMMPrior()(torch.randn(8, 512))


def test_error_5_feature_map_not_flattened():
    feature_map = torch.randn(2, 64, 21, 21)
    with pytest.raises(ShapeError, match="Flatten feature maps first"):
        SlotAttention()(feature_map)
    feature_seq = feature_map.flatten(2).transpose(1, 2)  # [B, H*W, C] = [B, 441, 64]
    assert SlotAttention()(feature_seq).attn.shape == (2, 4, 441)


# ------------------------------------------------------------------ "Validate Shapes at Runtime"


def test_validate_shape_usage():
    observations, context = torch.randn(8, 16, 3, 64, 64), torch.randn(8, 16, 256)
    validate_shape(observations, (8, 16, 3, 64, 64), "observations")
    validate_shape(context, (-1, -1, 256), "context")  # Allow any B, T


@pytest.mark.parametrize(
    ("expected", "text"),
    [((-1, 256), "context: 2 dimensions required"), ((8, -1, 255), "dimension 2 must be 255")],
)
def test_validate_shape_raises_a_value_error(expected, text):
    with pytest.raises(ValueError, match=text):
        validate_shape(torch.randn(8, 16, 256), expected, "context")
