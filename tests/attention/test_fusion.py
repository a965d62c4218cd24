"""Fusion of slot maps."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention.fusion import SlotScore, fuse_slot_maps
from aime_agent.functional.spatial import map_entropy, normalize_mass

MODES = ["weighted", "max", "gated"]


def maps_and_scores():
    torch.manual_seed(0)
    return normalize_mass(torch.rand(2, 3, 4, 4)), torch.randn(2, 3)


@pytest.mark.parametrize("mode", MODES)
def test_fused_map_sums_to_one(mode):
    fused = fuse_slot_maps(*maps_and_scores(), mode)
    assert_close(fused.attention.sum((-2, -1)), torch.ones(2))
    assert_close(fused.weights.sum(-1), torch.ones(2))


@pytest.mark.parametrize("mode", MODES)
def test_order_of_slots_does_not_matter(mode):
    maps, scores = maps_and_scores()
    flipped = fuse_slot_maps(maps.flip(1), scores.flip(1), mode)
    assert_close(flipped.attention, fuse_slot_maps(maps, scores, mode).attention)


def test_weighted_by_hand():
    maps = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]]])
    fused = fuse_slot_maps(maps, torch.tensor([[1.0, 1.0]]), "weighted")
    assert_close(fused.attention, torch.tensor([[[0.75, 0.25]]]))


def test_modes_differ():
    found = [fuse_slot_maps(*maps_and_scores(), mode).attention for mode in MODES]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_entropy_below_one_nat_can_be_reached():
    responsibilities = torch.full((1, 2, 21, 21), 1e-4)
    responsibilities[:, 0, 3, 4] = 1.0
    responsibilities[:, 1] = 1 - responsibilities[:, 0]
    maps = normalize_mass(responsibilities)
    fused = fuse_slot_maps(maps, torch.tensor([[9.0, 0.0]]), "weighted")
    assert map_entropy(fused.attention) < 1


def test_gradient_is_not_zero_at_equal_weights():
    logits = torch.randn(1, 3, 16, requires_grad=True)
    maps = normalize_mass(logits.softmax(1).view(1, 3, 4, 4))
    fused = fuse_slot_maps(maps, torch.zeros(1, 3), "weighted")
    fused.attention[0, 1, 1].backward()
    assert logits.grad.abs().sum() > 1e-3


def test_every_parameter_of_the_score_gets_a_gradient():
    net = SlotScore(4, 6, 8)
    net(torch.randn(2, 3, 4), torch.randn(2, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())
