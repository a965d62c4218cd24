"""Both streams joined, and the seed's own two scripts."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import AttentionSchema
from aime_agent.errors import ConfigError, ShapeError

SMALL = {
    "image_size": 32,
    "attention_resolution": 6,
    "hidden_dim": 8,
    "latent_dim": 3,
    "context_dim": 4,
    "attention_dim": 8,
}


def test_seed_000_testing_basic_functionality():
    attention = AttentionSchema(
        image_size=84,
        attention_resolution=21,
        hidden_dim=256,
        latent_dim=32,
        context_dim=128
    )  # fmt: skip

    # Test posterior
    obs = torch.randn(2, 3, 84, 84)
    h = torch.randn(2, 256)
    c = torch.randn(2, 128)

    attn_post, coords = attention.posterior_net(obs, h, c)
    assert attn_post.shape == (2, 21, 21)
    assert coords.shape == (2, 2)

    # Test prior
    z = torch.randn(2, 32)
    attn_prior, _info = attention.prior_net(attn_post, h, z)
    assert attn_prior.shape == (2, 21, 21)

    # Test dynamics loss
    attention_seq = [torch.randn(2, 21, 21) for _ in range(10)]
    pred_mov = [torch.randn(2, 2) for _ in range(9)]
    loss = attention.compute_attention_dynamics_loss(attention_seq, pred_mov)
    assert loss.ndim == 0  # Scalar
    assert loss.isfinite()


def test_seed_000_testing_shape_verification():
    B, T = 4, 16  # Batch size, sequence length

    attention = AttentionSchema(
        image_size=84,
        attention_resolution=21,
        hidden_dim=256,
        latent_dim=32,
        context_dim=128
    )  # fmt: skip

    obs = torch.randn(B, 3, 84, 84)
    h = torch.randn(B, 256)
    c = torch.randn(B, 128)

    attn, coords = attention.posterior_net(obs, h, c)

    assert attn.shape == (B, 21, 21), f"Expected {(B, 21, 21)}, got {attn.shape}"
    assert coords.shape == (B, 2), f"Expected {(B, 2)}, got {coords.shape}"

    posterior = attention.posterior_net
    assert posterior.slot_attention_maps.shape == (B, 4, 21, 21)
    assert posterior.slot_centers.shape == (B, 4, 2)
    assert posterior.slot_features.shape == (B, 4, 64)
    assert posterior.bottleneck_features.shape == (B, 128)

    z = torch.randn(B, 32)
    prev_attn = torch.randn(B, 21, 21)

    pred_attn, info = attention.prior_net(prev_attn, h, z)

    assert pred_attn.shape == (B, 21, 21)
    assert info['spatial_features'].shape == (B, 32, 21, 21)  # fmt: skip
    assert info['motion_features'].shape == (B, 8, 21, 21)  # fmt: skip
    assert len(info['predicted_movement']) == 2  # (dx, dy)  # fmt: skip
    assert info['predicted_movement'][0].shape == (B, 21, 21)  # fmt: skip
    assert T == 16


def test_seed_000_full_pipeline():
    net, maps, moves = AttentionSchema(**SMALL), [], []
    for t in range(3):
        obs, h, c, z = (torch.randn(2, *s) for s in ((3, 32, 32), (8,), (4,), (3,)))
        maps.append(net(obs, h, c)[0])
        if t > 0:
            moves.append(net.prior_net(maps[t - 1], h, z)[1]["predicted_movement"])
    net.compute_attention_dynamics_loss(maps, moves).backward()
    assert net.prior_net.head.weight.grad.abs().sum() > 0
    assert net.posterior_net.row_embedding.grad is not None


def moving_cell():
    maps = torch.zeros(3, 2, 6, 6)
    for t, column in enumerate((1, 3, 4)):
        maps[t, :, 2, column] = 1.0
    return maps


def shifts():
    return torch.tensor([[2.0, 0.0], [1.0, 0.0]])[:, None].expand(2, 2, 2)


FORMATS = {
    "list of vectors": lambda v: list(v),
    "list of fields": lambda v: list(v[..., None, None].expand(2, 2, 2, 6, 6)),
    "pairs of fields": lambda v: [
        tuple(m.unbind(1)) for m in v[..., None, None].expand(2, 2, 2, 6, 6)
    ],
    "pairs of vectors": lambda v: [tuple(m.unbind(1)) for m in v],
    "tensor of vectors": lambda v: v,
    "tensor of fields": lambda v: v[..., None, None].expand(2, 2, 2, 6, 6),
}


@pytest.mark.parametrize("name", FORMATS)
def test_loss_is_zero_where_the_prediction_is_the_motion(name):
    net = AttentionSchema(**SMALL)
    loss = net.compute_attention_dynamics_loss(moving_cell(), FORMATS[name](shifts()))
    assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_loss_by_hand_counts_cells():
    net = AttentionSchema(**SMALL)
    loss = net.compute_attention_dynamics_loss(list(moving_cell()), list(torch.zeros(2, 2, 2)))
    assert_close(loss, torch.tensor((1.5 + 0.5) / 2), atol=1e-4, rtol=0)


def test_fewer_than_two_maps_cost_nothing():
    assert AttentionSchema(**SMALL).compute_attention_dynamics_loss([moving_cell()[0]], []) == 0


@pytest.mark.parametrize("moves", [torch.zeros(3, 2, 2), torch.zeros(2, 2, 3)])
def test_wrong_predictions_are_named(moves):
    with pytest.raises(ShapeError, match="predicted_movements"):
        AttentionSchema(**SMALL).compute_attention_dynamics_loss(moving_cell(), moves)


@pytest.mark.parametrize(
    ("name", "value"),
    [*((k, v + 1) for k, v in SMALL.items() if k not in {"attention_dim", "image_size"})],
)
def test_sizes_change_the_parameters(name, value):
    count = [
        sum(p.numel() for p in AttentionSchema(**{**SMALL, name: v}).parameters())
        for v in (SMALL[name], value)
    ]
    assert count[0] != count[1]


def test_remaining_sizes_reach_the_streams():
    net = AttentionSchema(**{**SMALL, "attention_dim": 16, "image_size": 40, "input_channels": 1})
    assert net.prior_net.config.feature_dim == net.posterior_net.config.feature_channels == 16
    assert net.posterior_net.config.image_size == 40
    assert net.posterior_net.config.input_channels == 1


def test_nested_settings_act():
    net = AttentionSchema(**SMALL, posterior={"num_semantic_slots": 5}, prior={"motion_kernels": 2})
    assert net.posterior_net.config.num_semantic_slots == 5
    assert net.prior_net.config.motion_kernels == 2


def test_device_keyword_places_the_parameters():
    assert all(p.is_meta for p in AttentionSchema(**SMALL, device="meta").parameters())


def test_contradicting_sizes_are_named():
    with pytest.raises(ConfigError, match="hidden_dim must be set on AttentionSchemaConfig"):
        AttentionSchema(**SMALL, prior={"hidden_dim": 99})
