"""CausalMixer: summaries of single frames to a context that remembers the last W frames.

    score_{t,j} = q(s_t)·(k(s_j) + r_{t−j}) / √d,      t − W < j ≤ t,  same episode
    y_t = s_t + Σ_j softmax_j(score) v(s_j) W_o,        context_t = LN(W_c (y_t + MLP y_t))

One attention layer, hence a receptive field of exactly W frames and an O(1) step with a ring of the
last W − 1 summaries. r is a learned embedding of the relative time. The last LayerNorm has no
parameters, so that a predicted context can be compared with it on one scale.

Shapes: F summary width, W window.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.layers.transformer import FeedForward
from aime_agent.perception.frame_encoder import PerceiverSizes


class MixerCache(NamedTuple):
    """The frames before the next one, oldest first."""

    summaries: Float[Tensor, "B V F"]
    """The last V = W − 1 summaries."""
    valid: Bool[Tensor, "B V"]
    """True where the entry exists and belongs to the running episode."""


class CausalMixer(nn.Module):
    """Windowed causal attention over time; see the module's docstring.

    Args:
        window: W, frames that a context can see, its own included.
        context_dim: Width of the context.
        sizes: Width, heads, widening, dropout.
    """

    def __init__(self, window: int, context_dim: int, sizes: PerceiverSizes) -> None:
        super().__init__()
        self.window, self.num_heads = window, sizes.num_heads
        head_dim = sizes.width // sizes.num_heads
        self.norm = nn.LayerNorm(sizes.width)
        self.to_query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.to_key_value = nn.Linear(sizes.width, 2 * sizes.width, bias=False)
        self.relative_time = nn.Parameter(torch.randn(sizes.num_heads, head_dim, window) * 0.5)
        self.to_out = nn.Linear(sizes.width, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.mlp = FeedForward(sizes.width, sizes.widening_factor, sizes.dropout)
        self.to_context = nn.Linear(sizes.width, context_dim)
        self.context_norm = nn.LayerNorm(context_dim, elementwise_affine=False)

    def initial_cache(self, batch_size: int) -> MixerCache:
        """Returns an empty cache."""
        shape = (batch_size, self.window - 1)
        summaries = self.relative_time.new_zeros(*shape, self.to_out.in_features)
        valid = torch.zeros(shape, dtype=torch.bool, device=summaries.device)
        return MixerCache(summaries, valid)

    def forward(
        self,
        summaries: Float[Tensor, "B T F"],
        is_first: Bool[Tensor, "B T"],
        cache: MixerCache,
    ) -> tuple[Float[Tensor, "B T X"], MixerCache]:
        """Mixes T frames that follow the cache; returns their contexts and the cache after them."""
        frames = torch.cat([cache.summaries, summaries], 1)
        episode = is_first.cumsum(1)
        past = cache.valid.long() - 1
        episodes = torch.cat([past, episode], 1)
        same = episodes.unfold(1, self.window, 1) == episode.unsqueeze(-1)
        mixed = summaries + self.dropout(self._attend(frames, same))
        context = self.context_norm(self.to_context(mixed + self.mlp(mixed)))
        num_frames = summaries.shape[1]
        recent = episodes[:, num_frames:] == episode[:, -1:]
        return context, MixerCache(frames[:, num_frames:], recent)

    def _attend(
        self, frames: Float[Tensor, "B J F"], same: Bool[Tensor, "B T W"]
    ) -> Float[Tensor, "B T F"]:
        """Lets each of the last T frames read its window of frames."""
        normed = self.norm(frames)
        query = torch.unflatten(
            self.to_query(normed[:, self.window - 1 :]), -1, (self.num_heads, -1)
        )
        windows = self.to_key_value(normed).unfold(1, self.window, 1)
        key, value = torch.unflatten(windows, 2, (2, self.num_heads, -1)).unbind(
            2
        )  # [B, T, H, d, W]
        scaled = query.unsqueeze(-2) * query.shape[-1] ** -0.5
        scores = torch.matmul(scaled, key + self.relative_time).squeeze(-2)
        weights = F.softmax(scores.masked_fill(~same.unsqueeze(2), -torch.inf), -1)
        read = torch.matmul(value, weights.unsqueeze(-1)).squeeze(-1)
        return self.to_out(read.flatten(2))
