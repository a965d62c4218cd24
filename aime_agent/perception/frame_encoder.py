"""FramePerceiver: the codes of one frame to one summary vector (Jaegle et al., 2021).

    x_n = W code_n + p_n,    latents ← latents + CrossAttention(latents, x),  + MLP,
    latents ← SelfAttention blocks (none allowed),    summary = mean over latents

It sees one frame only, so its cost does not depend on time and nothing can leak.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.layers.positional import GridEmbedding
from aime_agent.layers.transformer import LatentCrossAttention, SelfAttentionBlock


class PerceiverSizes(NamedTuple):
    """Widths shared by the per-frame encoder and the mixer over time."""

    width: int
    """F, width of latents and summaries."""
    num_heads: int
    """Attention heads; divide ``width``."""
    widening_factor: int = 4
    """Hidden width of every MLP over ``width``."""
    dropout: float = 0.0
    """Share of every branch that is dropped in training."""


class FramePerceiver(nn.Module):
    """Per-frame Perceiver encoder; see the module's docstring.

    Args:
        code_dim: Width of a code.
        grid_size: Rows and columns of codes.
        num_latents: L.
        num_layers: Self-attention blocks over the latents.
        sizes: Width, heads, widening, dropout.
    """

    def __init__(
        self,
        code_dim: int,
        grid_size: tuple[int, int],
        num_latents: int,
        num_layers: int,
        sizes: PerceiverSizes,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(code_dim, sizes.width)
        self.positions = GridEmbedding(grid_size, sizes.width)
        self.read = LatentCrossAttention(num_latents, *sizes)
        self.blocks = nn.Sequential(*(SelfAttentionBlock(*sizes) for _ in range(num_layers)))

    def forward(self, codes: Float[Tensor, "N D h w"]) -> Float[Tensor, "N F"]:
        """Returns one summary per frame."""
        tokens = self.embed(codes.flatten(2).mT) + self.positions()
        return self.blocks(self.read(tokens)).mean(1)
