"""Self-attention over the cells of a grid, with a learned bias per relative position.

    logits(i, j) = q_i·k_j / √d + b[head, row_i - row_j, column_i - column_j]

(the bias as in Liu et al., 2021, arXiv:2103.14030). Pre-norm block: attention, then an MLP.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class GridAttentionBlock(nn.Module):
    """One transformer block over the cells of a square grid."""

    offset_index: Tensor

    def __init__(
        self, width: int, side: int, num_heads: int, relative_bias: bool, dropout: float
    ) -> None:
        """Builds the block.

        Args:
            width: Channels, a multiple of ``num_heads``.
            side: Side of the grid.
            num_heads: Attention heads.
            relative_bias: Whether logits carry the bias b.
            dropout: On attention weights and on both residual branches, in training mode.
        """
        super().__init__()
        self.num_heads, self.p = num_heads, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)
        offsets = (2 * side - 1) ** 2
        self.bias = nn.Parameter(0.02 * torch.randn(num_heads, offsets)) if relative_bias else None
        self.register_buffer("offset_index", relative_offsets(side), persistent=False)

    def forward(self, tokens: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Returns features that saw the whole grid."""
        qkv = self.qkv(self.norm(tokens)).view(*tokens.shape[:2], 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = None if self.bias is None else self.bias[:, self.offset_index]
        dropout = self.p if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        tokens = tokens + self.dropout(self.project(seen.transpose(1, 2).flatten(2)))
        return tokens + self.dropout(self.mlp(tokens))


def relative_offsets(side: int) -> Int[Tensor, "{side}**2 {side}**2"]:
    """Returns the index of the relative position of every pair of cells, in [0, (2·side-1)²).

    >>> relative_offsets(2)[0]
    tensor([4, 3, 1, 0])
    """
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None] + side - 1
    right = columns[:, None] - columns[None] + side - 1
    return down * (2 * side - 1) + right
