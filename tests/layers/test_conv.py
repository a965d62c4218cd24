"""The trunk, its mirror, and patches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.conv import ConvHead, ConvTrunk, grid_sizes, patchify, unpatchify


@pytest.mark.parametrize("size", [(64, 64), (84, 84), (33, 90), (32, 47)])
def test_head_mirrors_trunk(size):
    features = ConvTrunk(3, (4, 6, 8))(torch.rand(2, 3, *size))
    assert tuple(tuple(x.shape[-2:]) for x in features) == tuple(grid_sizes(size))
    assert [x.shape[1] for x in features] == [4, 6, 8]
    patches = ConvHead(10, 3, (4, 6, 8), image_size=size)(torch.randn(2, 10))
    assert patches.shape == patchify(torch.rand(2, 3, *size)).shape


@settings(max_examples=20, deadline=None)
@given(st.integers(32, 70), st.integers(32, 70), st.sampled_from([2, 4, 8]))
def test_unpatchify_inverts_patchify(height, width, patch):
    image = torch.rand(1, 3, height, width)
    assert torch.equal(unpatchify(patchify(image, patch), patch, (height, width)), image)


def test_patch_channels_are_local():
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 5, 10] = 1.0
    assert patchify(image).nonzero().tolist() == [[0, 1 * 4 + 2, 1, 2]]


def test_gain_scales_its_grid():
    head = ConvHead(5, 3, (4, 6, 8))
    head.to_patches.bias.data.zero_()
    x, one = torch.randn(2, 5), torch.ones(2, 1, 8, 8)
    doubled = head(x, (one, torch.full((2, 1, 16, 16), 2.0)))
    assert torch.allclose(doubled, 2 * head(x), atol=1e-6)
    assert not torch.allclose(head(x, (2 * one, torch.ones(2, 1, 16, 16))), head(x))


def test_every_parameter_gets_a_gradient():
    trunk, head = ConvTrunk(1, (2, 3, 4)), ConvHead(7, 1, (2, 3, 4))
    (trunk(torch.rand(1, 1, 64, 64)).low.sum() + head(torch.rand(1, 7)).square().sum()).backward()
    parameters = [*trunk.parameters(), *head.parameters()]
    assert all(p.grad.abs().sum() > 0 for p in parameters)


def test_head_norm_acts():
    with_norm, without = (ConvHead(5, 3, (4, 6, 8), norm=norm) for norm in (True, False))
    without.load_state_dict(with_norm.state_dict(), strict=False)
    x = torch.randn(2, 5)
    assert not torch.allclose(with_norm(x), without(x), atol=1e-3)
    assert len(list(with_norm.parameters())) == len(list(without.parameters())) + 6


def test_budget_sizes():
    assert sum(p.numel() for p in ConvTrunk().parameters()) == pytest.approx(133_000, rel=0.01)


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"at least 32, found \[64, 20\]"):
        ConvTrunk()(torch.rand(1, 3, 64, 20))
    with pytest.raises(ConfigError, match=r"ConvTrunk.channels .* found \(1, 2\)"):
        ConvTrunk(3, (1, 2))
