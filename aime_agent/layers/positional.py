"""Positions on a token grid.

>>> GridEmbedding((2, 3), 4)().shape
torch.Size([6, 4])
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GridEmbedding(nn.Module):
    """One learned vector per cell of a grid, cells in row-major order.

    Args:
        grid_size: Rows and columns.
        dim: Width of a vector.
        std: Spread of the vectors at the start.
    """

    def __init__(self, grid_size: tuple[int, int], dim: int, std: float = 0.5) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.table = nn.Parameter(torch.randn(grid_size[0] * grid_size[1], dim) * std)

    def forward(self) -> Float[Tensor, "N D"]:
        """Returns the vectors of all cells."""
        return self.table
