"""A task's queries read a set of tokens: tree nodes, slots, or parts of a state.

    w = softmax(W_q q · W_k x / √d + log mask),    y = W_o Σ_n w_n W_v x_n

Products and softmax are written out, because the fused kernels have no second derivative, which
meta-gradients need. Shapes: B batch, Q queries, N tokens, D width, J heads.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError

_MASKED = -1e9


class Attended(NamedTuple):
    """What queries have read, and where."""

    features: Float[Tensor, "B Q D"]
    weights: Float[Tensor, "B J Q N"]
    """Sum to 1 over tokens that are there; all 0 where there is none."""
    mask: Bool[Tensor, "B N"]


class TaskQueryAttention(nn.Module):
    """Multi-head attention of task queries over tokens.

    Args:
        dim: Width of queries, tokens and result.
        num_heads: Heads; must divide ``dim``.

    Raises:
        ConfigError: it does not.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ConfigError(f"num_attention_heads must divide {dim}, found {num_heads}")
        self.num_heads = num_heads
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key = nn.Linear(dim, dim, bias=False)
        self.to_value = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        tokens: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"],
    ) -> Attended:
        """Reads; a query that finds no token reads the bias of the last layer."""
        query, key, value = (
            torch.unflatten(x, -1, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.to_query(queries), self.to_key(tokens), self.to_value(tokens))
        )
        there = mask[:, None, None]
        scores = query @ key.mT * key.shape[-1] ** -0.5
        weights = torch.softmax(scores.masked_fill(~there, _MASKED), dim=-1) * there
        read = (weights @ value).transpose(1, 2).flatten(2)
        return Attended(self.to_out(read), weights, mask)


class SingleKeyAttention(TaskQueryAttention):
    """The seed's sketch: the mean of all tokens as the only key.

    Its softmax is over one number, so the query changes nothing: this is mean pooling, kept as the
    arm that shows what attention over many keys adds.
    """

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        tokens: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"],
    ) -> Attended:
        """Reads the mean."""
        count = mask.sum(dim=1, keepdim=True).clamp_min(1)
        mean = (tokens * mask[..., None]).sum(dim=1) / count
        return super().forward(queries, mean[:, None], mask.any(dim=1, keepdim=True))


ATTENTIONS: dict[str, type[TaskQueryAttention]] = {
    "query": TaskQueryAttention,
    "single_key": SingleKeyAttention,
}


def attention_entropy(
    weights: Float[Tensor, "B J Q N"], mask: Bool[Tensor, "B N"], normalized: bool = True
) -> Float[Tensor, "B J Q"]:
    """Returns −Σ w log w, in nats or over log n, the most that n tokens allow.

    One token or none leaves nothing to choose: 0.

    >>> even = torch.full((1, 1, 1, 4), 0.25)
    >>> attention_entropy(even, torch.ones(1, 4, dtype=torch.bool)).item()
    1.0
    """
    # The clamp keeps the derivative finite where a weight is 0.
    entropy = -(weights * weights.clamp_min(1e-12).log()).sum(dim=-1)
    if not normalized:
        return entropy
    count = mask.sum(dim=1)[:, None, None]
    most = count.clamp_min(2).to(entropy.dtype).log()
    return torch.where(count > 1, entropy / most, torch.zeros_like(entropy))
