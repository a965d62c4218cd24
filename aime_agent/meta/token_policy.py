"""A small recurrent policy that writes laws token by token (Petersen et al., 2021).

It reads the parent, the sibling and the predecessor of the open slot, and adds its logits to the
log-probabilities of the grammar's prior; its head starts at 0, so it begins as random search.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from aime_agent.symbolic.vocabulary import NUM_TOKENS

Memory = tuple[Float[Tensor, "1 B H"], Float[Tensor, "1 B H"]]
CONTEXT = 3
"""Parent, sibling, predecessor."""


class TokenPolicy(nn.Module):
    """Logits of the next token.

    Args:
        hidden_dim: Size of the recurrent state.
        embedding_dim: Size of each token's embedding.
    """

    def __init__(self, hidden_dim: int = 32, embedding_dim: int = 8) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.embeddings = nn.ModuleList(
            nn.Embedding(NUM_TOKENS + 1, embedding_dim) for _ in range(CONTEXT)
        )
        self.memory = nn.LSTM(CONTEXT * embedding_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, NUM_TOKENS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def initial(self, batch_size: int) -> Memory:
        """Returns the memory before the first token."""
        zeros = self.head.weight.new_zeros(1, batch_size, self.hidden_dim)
        return zeros, zeros

    def forward(
        self, contexts: Int64[Tensor, "B T 3"], memory: Memory
    ) -> tuple[Float[Tensor, "B T V"], Memory]:
        """Returns logits after each context, and the memory after the last."""
        parts = [table(contexts[..., i]) for i, table in enumerate(self.embeddings)]
        features, memory = self.memory(torch.cat(parts, dim=-1), memory)
        return self.head(features), memory
