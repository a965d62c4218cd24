"""A small feature pyramid (after Lin et al., 2017, arXiv:1612.03144).

Three convolution stages at 1/2, 1/4 and 1/4 of the image; all three are brought to one square
grid, concatenated and mixed by a 1x1 convolution, so any image size works.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import resize_features

_CHANNELS_PER_GROUP = 4


class FeaturePyramid(nn.Module):
    """Image to one fused feature map of fixed size."""

    def __init__(
        self,
        input_channels: int,
        feature_channels: int,
        resolution: int,
        widths: tuple[int, int, int] = (32, 48, 64),
    ) -> None:
        """Builds the stages.

        Args:
            input_channels: Channels of the image.
            feature_channels: Channels of the fused map.
            resolution: Side of the fused map.
            widths: Channels of the three stages, multiples of 4 (groups of four channels).
        """
        super().__init__()
        if any(width % _CHANNELS_PER_GROUP for width in widths):
            raise ConfigError(f"FeaturePyramid.widths must be multiples of 4, found {widths}")
        self.resolution = resolution
        fine, middle, coarse = widths
        self.stages = nn.ModuleList(
            [
                _stage(input_channels, fine, kernel=5, stride=2),
                _stage(fine, middle, kernel=5, stride=2),
                _stage(middle, coarse, kernel=3, stride=1),
            ]
        )
        self.fuse = nn.Conv2d(sum(widths), feature_channels, 1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F R R"]:
        """Returns the fused features."""
        x, levels = images, []
        for stage in self.stages:
            x = stage(x)
            levels.append(resize_features(x, self.resolution, self.resolution))
        return self.fuse(torch.cat(levels, dim=1))


def _stage(width_in: int, width_out: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2),
        nn.GroupNorm(width_out // _CHANNELS_PER_GROUP, width_out),
        nn.SiLU(),
    )
