"""Convolutions on video that never look ahead.

Space is convolved as usual. Time, if at all, is convolved with all padding in front, so that frame
t of a result depends on frames ≤ t of the input; with a time stride s, frame j depends on frames
≤ s·j. Norms see one frame at a time: a GroupNorm over time would leak every frame into every other.

Shapes: videos are ``[B, T, C, H, W]``. There are no skips from encoder to decoder.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

TIME_KERNEL = 3


class FrameConv(nn.Module):
    """A convolution of every frame, optionally also over the frames before it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel: Side of the spatial kernel.
        stride: Spatial stride; padding is chosen so that sizes divide by it (rounded down).
        temporal: Also convolve over time, causally.
        time_stride: Stride over time; needs ``temporal``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        temporal: bool = False,
        time_stride: int = 1,
    ) -> None:
        super().__init__()
        self.temporal = temporal
        pad = (kernel - stride + 1) // 2
        if temporal:
            self.conv: nn.Module = nn.Conv3d(
                in_channels,
                out_channels,
                (TIME_KERNEL, kernel, kernel),
                (time_stride, stride, stride),
                (0, pad, pad),
            )
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, pad)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B t c h w"]:
        """Convolves the video."""
        if not self.temporal:
            return torch.unflatten(self.conv(video.flatten(0, 1)), 0, video.shape[:2])
        padded = F.pad(video.transpose(1, 2), (0, 0, 0, 0, TIME_KERNEL - 1, 0))
        return self.conv(padded).transpose(1, 2)


class FrameNorm(nn.Module):
    """GroupNorm of every frame by itself, about eight channels to a group."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        """Normalises each frame."""
        return torch.unflatten(self.norm(video.flatten(0, 1)), 0, video.shape[:2])


class FrameResidual(nn.Module):
    """Two convolutions with norms and a residual."""

    def __init__(self, channels: int, temporal: bool = False) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            FrameNorm(channels),
            nn.SiLU(),
            FrameConv(channels, channels, temporal=temporal),
            FrameNorm(channels),
            nn.SiLU(),
            FrameConv(channels, channels, temporal=temporal),
        )

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        """Adds the branch to its input."""
        return video + self.branch(video)


class FrameEncoder(nn.Module):
    """Video to feature grid; each stage halves the sides and, after the first, doubles the width.

    Args:
        in_channels: Channels of the video.
        out_channels: Channels of the features.
        base_channels: Width of the first stage.
        num_stages: Number of halvings.
        temporal: Convolve causally over time in every stage.
        temporal_downsample: Halve time in the first stage; needs ``temporal``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base_channels: int,
        num_stages: int,
        temporal: bool = False,
        temporal_downsample: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [FrameConv(in_channels, base_channels, temporal=temporal)]
        width = base_channels
        for stage in range(num_stages):
            wider = base_channels * 2**stage
            time_stride = 2 if temporal_downsample and stage == 0 else 1
            layers += [
                nn.SiLU(),
                FrameConv(width, wider, 4, 2, temporal, time_stride),
                FrameResidual(wider, temporal),
            ]
            width = wider
        layers += [FrameNorm(width), nn.SiLU(), FrameConv(width, out_channels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B t D h w"]:
        """Encodes the video; t = ⌈T/2⌉ with ``temporal_downsample``, else T."""
        return self.layers(video)


class FrameDecoder(nn.Module):
    """Feature grid to video, mirror of `FrameEncoder`; time keeps its length.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the video.
        base_channels: Width of the last stage.
        sizes: Height and width after each enlargement, the image's last.
        temporal: Convolve causally over time in every stage.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base_channels: int,
        sizes: Sequence[tuple[int, int]],
        temporal: bool = False,
    ) -> None:
        super().__init__()
        width = base_channels * 2 ** (len(sizes) - 1)
        self.sizes = tuple(sizes)
        self.stem = FrameConv(in_channels, width)
        self.residuals = nn.ModuleList()
        self.convs = nn.ModuleList()
        for stage in reversed(range(len(sizes))):
            narrower = base_channels * 2 ** max(stage - 1, 0)
            self.residuals.append(FrameResidual(width, temporal))
            self.convs.append(FrameConv(width, narrower, temporal=temporal))
            width = narrower
        self.head = nn.Sequential(FrameNorm(width), nn.SiLU(), FrameConv(width, out_channels))

    def forward(self, features: Float[Tensor, "B T D h w"]) -> Float[Tensor, "B T C H W"]:
        """Decodes the features."""
        x = self.stem(features)
        for residual, conv, size in zip(self.residuals, self.convs, self.sizes, strict=True):
            x = conv(_resize(residual(x), size))
        return self.head(x)


def _resize(video: Float[Tensor, "B T C h w"], size: tuple[int, int]) -> Tensor:
    return torch.unflatten(F.interpolate(video.flatten(0, 1), size=size), 0, video.shape[:2])
