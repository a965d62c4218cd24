"""PatchDecoder: the cheap way from a grid of codes to an image."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.errors import ConfigError


class PatchDecoder(nn.Module):
    """A 3×3 convolution, then each cell paints its own patch of the image.

    A cell's patch is ``stride`` wide and reaches further only where the image is larger than the
    grid times the stride; there neighbours overlap and add.

    Args:
        in_channels: Channels of the codes.
        out_channels: Channels of the image.
        hidden: Width of the hidden layer.
        sizes: Grid and image.
        stride: Pixels between neighbouring cells.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        stride: int,
    ) -> None:
        super().__init__()
        grid, image = sizes
        kernel = [side - (cells - 1) * stride for cells, side in zip(grid, image, strict=True)]
        if min(kernel) < 1:
            raise ConfigError(
                f"PatchDecoder: a grid {grid} with downsample {stride} does not fit image {image}"
            )
        self.hidden = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.paint = nn.Linear(hidden, out_channels * kernel[0] * kernel[1])
        self.image, self.kernel, self.stride = image, (kernel[0], kernel[1]), stride

    def forward(self, codes: Float[Tensor, "B T D h w"]) -> Float[Tensor, "B T C H W"]:
        """Decodes every frame by itself."""
        cells = F.silu(self.hidden(codes.flatten(0, 1))).flatten(2).mT
        image = F.fold(self.paint(cells).mT, self.image, self.kernel, stride=self.stride)
        return torch.unflatten(image, 0, codes.shape[:2])
