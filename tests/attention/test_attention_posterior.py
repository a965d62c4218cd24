"""The bottom-up stream."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import AttentionPosterior, AttentionPosteriorConfig
from aime_agent.errors import ConfigError, ShapeError

SMALL = {
    "image_size": 32,
    "attention_resolution": 6,
    "hidden_dim": 8,
    "context_dim": 4,
    "feature_channels": 8,
    "num_heads": 1,
    "slot_mlp_hidden": 8,
}


def make(train=False, **kw):
    torch.manual_seed(0)
    return AttentionPosterior(**{**SMALL, **kw}).train(train)


def inputs(net, batch=3):
    c, g = net.config, torch.Generator().manual_seed(1)
    shapes = [(c.input_channels, c.image_size, c.image_size), (c.hidden_dim,), (c.context_dim,)]
    return [torch.randn(batch, *s, generator=g) for s in shapes]


def run(train=False, **kw):
    net = make(train, **kw)
    return net.infer(*inputs(net))


def outputs_differ(a, b):
    return any(x.shape != y.shape or not torch.allclose(x, y) for x, y in zip(a, b, strict=True))


def test_maps_are_distributions():
    out = run()
    assert_close(out.attention_probs.sum((-2, -1)), torch.ones(3))
    assert_close(out.slot_attention_maps.sum((-2, -1)), torch.ones(3, 4))
    assert_close(out.group_assignments.sum(-1), torch.ones(3, 6, 6))
    assert_close(out.slot_mass.sum(-1), torch.ones(3))
    assert out.coords.abs().max() <= 1


def test_attributes_are_those_of_the_last_call_and_detached():
    net = make()
    x = inputs(net)
    net(*x)
    assert_close(net.slot_centers, net.infer(*x).slot_centers)
    assert not net.slot_features.requires_grad
    assert net.diversity_loss.requires_grad


def test_reading_before_a_call_says_so():
    with pytest.raises(AttributeError, match="call the module once"):
        _ = make().slot_centers


def test_copies_and_pickles_after_a_call():
    net = make()
    net(*inputs(net))
    assert not hasattr(copy.deepcopy(net), "slot_centers")
    pickle.dumps(net)


def test_an_object_changes_the_maps_most_where_it_is():
    net = make()
    x, empty = inputs(net), torch.zeros(3, 8, 6, 6)
    scene = empty.clone()
    scene[:, :, 1, 4] = torch.randn(8)
    maps = [net.infer(*x, f).slot_attention_maps.flatten(2) for f in (empty, scene)]
    assert (maps[1] - maps[0]).abs().sum(1).argmax(1).tolist() == [10, 10, 10]


@pytest.mark.parametrize("mode", ["weighted", "max", "gated"])
def test_every_parameter_gets_a_gradient(mode):
    net = make(train=True, attention_fusion_mode=mode)
    torch.nn.init.normal_(net.correction.weight)
    out = net.infer(*inputs(net))
    loss = sum(x.square().sum() for x in out)
    loss.backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert missing == []


@pytest.mark.parametrize(
    "change",
    [
        {"attention_fusion_mode": "max"},
        {"attention_fusion_mode": "gated"},
        {"num_heads": 2},
        {"num_semantic_slots": 5},
        {"slot_iters": 1},
        {"slot_mlp_hidden": 16},
        {"feature_channels": 16},
        {"hidden_dim": 10},
        {"context_dim": 6},
        {"attention_resolution": 7},
        {"image_size": 40},
        {"input_channels": 1},
        {"enforce_diversity": False},
    ],
)
def test_settings_act(change):
    assert outputs_differ(run(), run(**change))


def test_dropout_acts_in_training_only():
    assert not outputs_differ(run(dropout_p=0.5), run(dropout_p=0.0))
    assert outputs_differ(run(train=True, dropout_p=0.5), run(train=True, dropout_p=0.0))


def test_coordinate_noise_acts_in_training_only():
    net = make(coord_noise_std=0.3, dropout_p=0.0)
    x = inputs(net)
    quiet = net(*x)[1]
    assert_close(net(*x)[1], quiet)
    noisy = net.train()(*x)[1]
    assert not torch.allclose(noisy, quiet)
    assert noisy.abs().max() <= 1


def test_coordinate_noise_by_hand():
    net = make(coord_noise_std=0.1)
    x, noise = inputs(net), torch.ones(3, 2)
    moved = net.infer(*x, coord_noise=noise).coords - net.infer(*x).coords
    assert_close(moved, torch.full((3, 2), 0.1))


def test_checkpointing_stores_less_and_changes_nothing():
    stored, losses = [], []
    for use in (False, True):
        net, seen = make(train=True, use_checkpoint=use, dropout_p=0.0), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=seen: (s.append(1), t)[1], _same):
            losses.append(net(*inputs(net))[0].square().sum())
        losses[-1].backward()
        stored.append(len(seen))
    assert stored[1] < stored[0]
    assert_close(losses[0], losses[1])


def _same(tensor):
    return tensor


def test_expected_fused_builds_no_pyramid_and_needs_features():
    net = make(expected_fused=True)
    assert net.pyramid is None
    x = inputs(net)
    assert net(*x, torch.randn(3, 8, 12, 12))[0].shape == (3, 6, 6)
    with pytest.raises(ShapeError, match="fused_feat: required"):
        net(*x)


def test_given_features_replace_the_pyramid():
    net = make()
    x = inputs(net)
    assert_close(net.infer(*x, net.pyramid(x[0])).coords, net.infer(*x).coords)


def test_device_keyword_places_the_parameters():
    net = AttentionPosterior(**SMALL, device="meta")
    assert all(p.is_meta for p in net.parameters())


def test_runs_in_float64():
    net = make().double()
    out = net.infer(*(x.double() for x in inputs(net)))
    assert all(x.dtype == torch.float64 for x in out)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dropout_p": 1.5}, "dropout_p must be in"),
        ({"coord_noise_std": -1.0}, "coord_noise_std must not be negative"),
        ({"attention_resolution": 1}, "attention_resolution must be at least 2"),
        ({"feature_channels": 1}, "feature_channels"),
        ({"num_heads": 3}, "num_heads"),
        ({"fusion_mode": "max"}, "attention_fusion_mode"),
    ],
)
def test_bad_options_are_named(change, text):
    with pytest.raises(ConfigError, match=text):
        make(**change)


def test_bad_fusion_mode_is_named():
    config = object.__new__(AttentionPosteriorConfig)
    object.__setattr__(config, "attention_fusion_mode", "mean")
    with pytest.raises(ConfigError, match="attention_fusion_mode must be one of 'weighted'"):
        config.__post_init__()


def test_wrong_image_size_gets_the_remedy():
    net = make()
    x = inputs(net)
    with pytest.raises(ShapeError, match=r"observation: dimension 2 must be 32.*image_size"):
        net(torch.rand(3, 3, 64, 64), *x[1:])
