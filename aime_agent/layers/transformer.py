"""Pre-norm attention blocks (Vaswani et al., 2017; Jaegle et al., 2021 for the cross form).

    y = x + Attention(LN x, LN source),    out = y + MLP(LN y)

Shapes: N batch, L queries, M sources, D width. Queries and keys carry no bias: a bias of the keys
shifts all scores of a query alike, so its gradient would be zero.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(nn.Sequential):
    """LayerNorm, one hidden layer, dropout."""

    def __init__(self, dim: int, widening_factor: int = 4, dropout: float = 0.0) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * widening_factor),
            nn.SiLU(),
            nn.Linear(dim * widening_factor, dim),
            nn.Dropout(dropout),
        )


class Attention(nn.Module):
    """Multi-head attention of normalised queries over normalised sources.

    Args:
        dim: Width of queries, sources and result.
        num_heads: Heads; must divide ``dim``.
        dropout: Share of the result that is dropped in training.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, queries: Float[Tensor, "N L D"], source: Float[Tensor, "N M D"]
    ) -> Float[Tensor, "N L D"]:
        """Returns what each query reads from the source."""
        query = self._heads(self.to_query(queries))
        key, value = (self._heads(x) for x in self.to_key_value(source).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(query, key, value)
        return self.dropout(self.to_out(read.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.num_heads, -1)).transpose(1, 2)


class SelfAttentionBlock(nn.Module):
    """Self-attention and MLP, each with a residual."""

    def __init__(
        self, dim: int, num_heads: int, widening_factor: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, dropout)
        self.mlp = FeedForward(dim, widening_factor, dropout)

    def forward(self, x: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        """Lets every element read all elements."""
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        return x + self.mlp(x)


class LatentCrossAttention(nn.Module):
    """Learned latents read a set, with residual and MLP.

    The queries are the same for every example, so they are absorbed into the keys' matrix and the
    values' matrix is applied after pooling: softmax((LN x)(W_k W_q q)ᵀ) and (weights · LN x) W_v.
    This is ordinary attention in another order; it saves the projection of every source element.

    Args:
        num_latents: L, number of latents.
        dim: Width of latents and sources.
        num_heads: Heads; must divide ``dim``.
        widening_factor: Hidden width of the MLP over ``dim``.
        dropout: Share of each branch that is dropped in training.
    """

    def __init__(
        self,
        num_latents: int,
        dim: int,
        num_heads: int,
        widening_factor: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.latents = nn.Parameter(torch.randn(num_latents, dim) * 0.5)
        self.query_norm = nn.LayerNorm(dim)
        self.source_norm = nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key = nn.Linear(dim, dim, bias=False)
        self.to_value = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.mlp = FeedForward(dim, widening_factor, dropout)

    def forward(self, source: Float[Tensor, "N M D"]) -> Float[Tensor, "N L D"]:
        """Returns the latents after they read each source."""
        source = self.source_norm(source)
        weights = torch.softmax(F.linear(source, self._absorbed_queries()), dim=1)
        pooled = torch.unflatten(torch.bmm(weights.mT, source), 1, (self.num_heads, -1))
        x = self.latents + self.dropout(self.to_out(self._values(pooled)))
        return x + self.mlp(x)

    def _absorbed_queries(self) -> Float[Tensor, "J D"]:
        """Returns W_k q of every (head, latent) pair, scaled; rows are head-major."""
        query = torch.unflatten(
            self.to_query(self.query_norm(self.latents)), -1, (self.num_heads, -1)
        )
        key = torch.unflatten(self.to_key.weight, 0, (self.num_heads, -1))
        scale = key.shape[1] ** -0.5
        return torch.bmm(query.transpose(0, 1), key).flatten(0, 1) * scale

    def _values(self, pooled: Float[Tensor, "N H L D"]) -> Float[Tensor, "N L D"]:
        value = torch.unflatten(self.to_value.weight, 0, (self.num_heads, -1))
        return torch.einsum("nhld,hed->nlhe", pooled, value).flatten(2)
