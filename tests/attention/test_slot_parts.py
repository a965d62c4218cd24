"""Parts of wholes: what they share out, and that they are found."""

import pytest
import torch
from laws import every_parameter_gets_gradient, is_permutation_equivariant
from torch import nn
from torch.testing import assert_close

from aime_agent.attention import SlotParts
from aime_agent.errors import ConfigError

SMALL = {"num_parts": 3, "slot_dim": 8, "in_dim": 5, "mlp_hidden": 8, "iters": 2}


def inputs(batch=2, cells=12, slots=4):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, cells, 5, generator=g).double()
    shares = torch.randn(batch, slots, cells, generator=g).double().softmax(1)
    return x, torch.randn(batch, slots, 8, generator=g).double(), shares


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SlotParts(**SMALL).double()


def test_parts_share_out_exactly_what_their_whole_explains(net):
    x, slots, shares = inputs()
    out = net(x, slots, shares)
    assert out.slots.shape == (2, 4, 3, 8)
    assert_close(out.responsibilities.sum(2), shares)
    assert_close(out.responsibilities.sum((1, 2)), torch.ones(2, 12).double())


def test_one_part_is_the_whole():
    x, slots, shares = inputs()
    out = SlotParts(**{**SMALL, "num_parts": 1}).double()(x, slots, shares)
    assert_close(out.responsibilities.squeeze(2), shares)


def test_parts_see_nothing_outside_their_whole(net):
    x, slots, shares = inputs()
    shares = (torch.arange(12) % 4 == torch.arange(4)[:, None]).double().expand(2, -1, -1)
    before = net(x, slots, shares).slots
    x[:, 1::4] = x[:, 1::4].flip(-1)  # cells of slot 1
    moved = (net(x, slots, shares).slots - before).abs().amax((0, 2, 3))
    assert moved[1] > 1e-3
    assert not moved[[0, 2, 3]].any()


def test_wholes_carry_their_parts_along_when_permuted(net):
    x, slots, shares = inputs()
    is_permutation_equivariant(
        lambda s: net(x, s, shares.mean(1, keepdim=True).expand_as(shares)), slots, 1
    )


def scene(g, batch=64, cells=48):
    """Two objects of two parts each; every part has its own colour, new in every scene."""
    thing, part = torch.randint(2, (2, batch, cells), generator=g)
    colours = torch.randn(batch, 4, 5, generator=g)
    which = (2 * thing + part)[..., None].expand(-1, -1, 5)
    x = colours.gather(1, which) + 0.1 * torch.randn(batch, cells, 5, generator=g)
    return x, thing, part


def test_parts_are_found_by_rebuilding_what_is_seen():
    """Objects are given, parts are not; measured 0.96 after 100 steps, 0.99 after 300."""
    torch.manual_seed(0)
    net = SlotParts(num_parts=2, slot_dim=16, in_dim=5, mlp_hidden=32)
    paint, lift, g = nn.Linear(16, 5), nn.Linear(5, 16), torch.Generator().manual_seed(0)
    modules = nn.ModuleList([net, paint, lift])
    adam = torch.optim.Adam(modules.parameters(), 3e-3)
    for _ in range(150):
        x, thing, part = scene(g)
        shares = torch.stack([thing == 0, thing == 1], 1).float()
        mean = (shares @ x) / shares.sum(-1, keepdim=True).clamp_min(1)
        out = net(x, lift(mean), shares)
        loss = (torch.einsum("bspn,bspf->bnf", out.responsibilities, paint(out.slots)) - x).square()
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
    right = (out.responsibilities.sum(1).argmax(1) == part).float()
    agree = (shares @ right[..., None]).squeeze(-1) / shares.sum(-1).clamp_min(1)
    assert torch.maximum(agree, 1 - agree).mean() > 0.93


def test_every_parameter_gets_a_gradient(net):
    every_parameter_gets_gradient(net, lambda m: m(*inputs()))


@pytest.mark.parametrize("name", ["num_parts", "slot_dim", "in_dim", "iters", "mlp_hidden"])
def test_bad_option_is_named(name):
    with pytest.raises(ConfigError, match=f"SlotPartsConfig.{name} must be at least 1, found 0"):
        SlotParts(**{name: 0})
