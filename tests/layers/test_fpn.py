"""The feature pyramid."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.errors import ConfigError
from aime_agent.layers.fpn import FeaturePyramid


@pytest.mark.parametrize("size", [32, 64, 84, 100])
def test_any_image_size_gives_the_same_grid(size):
    assert FeaturePyramid(3, 64, 21)(torch.rand(1, 3, size, size)).shape == (1, 64, 21, 21)


def test_frames_do_not_see_each_other():
    net, x = FeaturePyramid(3, 8, 4).double(), torch.rand(3, 3, 32, 32).double()
    assert_close(net(x)[1:2], net(x[1:2]))


def test_a_shift_of_the_image_shifts_the_features():
    net, x = FeaturePyramid(1, 8, 16), torch.zeros(1, 1, 64, 64)
    x[..., 24:32, 24:32] = 1.0
    here, there = net(x), net(x.roll(4, -1))
    assert_close(there[..., 5:11, 5:11], here[..., 5:11, 4:10], atol=1e-4, rtol=1e-3)


def test_every_parameter_gets_a_gradient():
    net = FeaturePyramid(3, 8, 6)
    net(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_bad_width_is_named():
    with pytest.raises(ConfigError, match=r"widths must be multiples of 4"):
        FeaturePyramid(3, 8, 6, widths=(32, 49, 64))
