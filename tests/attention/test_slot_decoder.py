"""Slots back to pixels."""

import math

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import SlotDecoder
from aime_agent.attention.slot_decoder import fourier_features
from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import coordinate_grid


def make(**kw):
    torch.manual_seed(0)
    return SlotDecoder(**{"slot_dim": 5, "hidden_dim": 16, "frequencies": 2, **kw}).double()


def slots():
    return torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1)).double()


def test_masks_sum_to_one_over_slots():
    alpha = make()(slots(), torch.rand(7, 2).double()).alpha
    assert_close(alpha.sum(1), torch.ones(2, 7).double())


def test_order_of_slots_does_not_change_the_picture():
    net, coords = make(), torch.rand(7, 2).double()
    assert_close(net(slots().flip(1), coords).rgb, net(slots(), coords).rgb)


def test_picture_is_the_masked_sum_of_components():
    net, coords = make(), torch.rand(7, 2).double()
    rgb, alpha = net.components(slots(), coords)
    assert_close(net(slots(), coords).rgb, torch.einsum("nsp,nspc->npc", alpha, rgb))


def test_some_pixels_equal_the_rendered_picture():
    net = make()
    picture, masks = net.render(slots(), 8, 12)
    index = torch.tensor([14, 18, 22, 62, 66, 70])
    out = net(slots(), coordinate_grid(8, 12, slots()).flatten(0, 1)[index])
    assert_close(out.rgb.mT, picture.flatten(2)[..., index])
    assert_close(out.alpha, masks.flatten(2)[..., index])


def test_coordinates_per_frame_equal_shared_ones():
    net, coords = make(), torch.rand(7, 2).double()
    assert_close(net(slots(), coords.expand(2, 7, 2)).rgb, net(slots(), coords).rgb)


def test_fourier_features_by_hand():
    found = fourier_features(torch.tensor([0.5, 0.0]), 1)
    assert_close(found, torch.tensor([0.5, 0.0, 1.0, 0.0, math.cos(math.pi / 2), 1.0]))


def test_every_parameter_gets_a_gradient():
    net = make()
    net(slots(), torch.rand(9, 2).double()).rgb.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("name", ["slot_dim", "hidden_dim", "channels", "frequencies"])
def test_sizes_change_the_parameters(name):
    net = make()
    other = make(**{name: getattr(net.config, name) + 1})
    assert len({sum(p.numel() for p in m.parameters()) for m in (net, other)}) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [({"channels": 0}, "channels must be at least 1"), ({"frequencies": -1}, "frequencies must")],
)
def test_bad_options_are_named(change, text):
    with pytest.raises(ConfigError, match=text):
        make(**change)
