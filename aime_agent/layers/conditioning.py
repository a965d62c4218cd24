"""Four ways to join what a task is (t) with what was read for it (r).

| fusion | result |
|---|---|
| attention | LN(t + W r) |
| gating | g t + (1 − g) r, with g = σ(W [t, r]) |
| bilinear | W (U t ⊙ V r), of low rank: a full one would have D³ weights |
| film | (1 + 0.1 tanh γ(t)) ⊙ r + β(t) (Perez et al., 2018) |
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError, nearest

_RANK = 64


class AttentionFusion(nn.Module):
    """A residual, normalised."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, task: Float[Tensor, "B D"], read: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Joins both."""
        return self.norm(task + self.project(read))


class GatingFusion(nn.Module):
    """A learned share of each, number by number."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * dim, dim)

    def forward(
        self, task: Float[Tensor, "B D"], read: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Joins both."""
        share = torch.sigmoid(self.gate(torch.cat([task, read], dim=-1)))
        return share * task + (1.0 - share) * read


class BilinearFusion(nn.Module):
    """A product, of low rank."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        rank = min(_RANK, dim)
        self.of_task = nn.Linear(dim, rank)
        self.of_read = nn.Linear(dim, rank)
        self.out = nn.Linear(rank, dim)

    def forward(
        self, task: Float[Tensor, "B D"], read: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Joins both."""
        return self.out(self.of_task(task) * self.of_read(read))


class FiLMFusion(nn.Module):
    """The task scales and shifts what was read."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(dim, 2 * dim)

    def forward(
        self, task: Float[Tensor, "B D"], read: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Joins both."""
        scale, shift = self.modulation(task).chunk(2, dim=-1)
        return read * (1.0 + 0.1 * torch.tanh(scale)) + shift


FUSIONS: dict[str, type[nn.Module]] = {
    "attention": AttentionFusion,
    "gating": GatingFusion,
    "bilinear": BilinearFusion,
    "film": FiLMFusion,
}


def make_fusion(fusion_type: str, dim: int) -> nn.Module:
    """Builds a fusion by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if fusion_type not in FUSIONS:
        raise ConfigError(
            f"no fusion_type is named {fusion_type!r}. {nearest(fusion_type, FUSIONS)}"
        )
    return FUSIONS[fusion_type](dim)
