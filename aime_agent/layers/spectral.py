"""Attention with spectrally normalised weights, over space or over time.

    W ← W / σ₁(W)   (Miyato et al., 2018), σ₁ by one power iteration per pass in training mode
    ⟨R_t q, R_s k⟩ = ⟨q, R_{s−t} k⟩   (Su et al., 2021): rotary positions, R_t turns pair i by
                                       t · base^(−2i/d)

Shapes: M batch, N places, T times, D width, d half the width of a head.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class SpectralBlock(nn.Module):
    """Pre-norm attention and MLP with spectrally normalised weights.

    Args:
        dim: Width of a token.
        heads: Heads; twice their number must divide ``dim`` where positions are rotary.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.to_qkv = spectral_norm(nn.Linear(dim, 3 * dim, bias=False))
        self.to_out = spectral_norm(nn.Linear(dim, dim))
        self.up = spectral_norm(nn.Linear(dim, 2 * dim))
        self.down = spectral_norm(nn.Linear(2 * dim, dim))

    def forward(self, tokens: Float[Tensor, "M N D"]) -> Float[Tensor, "M N D"]:
        """Lets all tokens of a frame read each other."""
        q, k, v = self._heads(tokens)
        read = F.scaled_dot_product_attention(q, k, v)
        return self._rest(tokens, read.transpose(1, 2).flatten(2))

    def over_time(
        self,
        tokens: Float[Tensor, "B T N D"],
        mask: Bool[Tensor, "B 1 T T"],
        positions: Float[Tensor, "L 2 d"] | None = None,
    ) -> Float[Tensor, "B T N D"]:
        """Lets each place read itself at the times that ``mask`` shows.

        Args:
            tokens: Tokens of N places at T times.
            mask: Which time (third dimension) may read which (fourth); each must see one.
            positions: What `rotary_positions` gives, for L ≥ T times.
        """
        batch, length, places = tokens.shape[:3]
        rows = tokens.transpose(1, 2).flatten(0, 1)
        q, k, v = (x.unflatten(0, (batch, places)).flatten(1, 2) for x in self._heads(rows))
        if positions is not None:
            q, k = _rotated(q, positions[:length]), _rotated(k, positions[:length])
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        joined = read.unflatten(1, (places, self.heads)).permute(0, 3, 1, 2, 4).flatten(3)
        return self._rest(tokens, joined)

    def _heads(self, tokens: Float[Tensor, "M L D"]) -> tuple[Tensor, ...]:
        parts = self.to_qkv(self.norms[0](tokens)).chunk(3, dim=-1)
        return tuple(x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)

    def _rest(self, tokens: Float[Tensor, "*b D"], read: Float[Tensor, "*b D"]) -> Tensor:
        tokens = tokens + self.to_out(read)
        return tokens + self.down(F.leaky_relu(self.up(self.norms[1](tokens)), 0.2))


def rotary_positions(length: int, head_dim: int, base: float = 10000.0) -> Float[Tensor, "L 2 d"]:
    """Returns cosines and sines of the angles of each time, for the pairs of a head.

    >>> rotary_positions(2, 2).shape
    torch.Size([2, 2, 1])
    """
    half = head_dim // 2
    rates = base ** (-torch.arange(half) / half)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _rotated(x: Float[Tensor, "B M T d2"], positions: Float[Tensor, "T 2 d"]) -> Tensor:
    """Turns pairs of channels by their angles; scores then depend on t − s alone."""
    cos, sin = positions.unbind(1)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
