"""What a task is, told from trajectories: recurrent within each, a set over all of them.

    l_t = [→LSTM_t; ←LSTM_t]                        per step
    s_j = Σ_t α_t l_t   (hierarchical; α learned)   or the two last states
    g   = Σ_j β_j s_j   (hierarchical; β learned)   or their mean

Only steps that are valid count, whatever padding follows them; the order of trajectories does not.
Without a single valid step the task is a learned vector: nothing is known yet.
Shapes: B tasks, J trajectories, T steps, F numbers per step, H width.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from aime_agent.errors import ConfigError


class TaskEncoding(NamedTuple):
    """A task, and what it was told from."""

    task_embedding: Float[Tensor, "B H"]
    local_features: Float[Tensor, "B J T H"]
    global_features: Float[Tensor, "B H"]


class HierarchicalTaskEncoder(nn.Module):
    """Bidirectional LSTM over steps, then pooling over trajectories.

    Args:
        step_dim: F.
        hidden_dim: H, even.
        hierarchical: Learned pooling over steps and trajectories; otherwise last states and mean.

    Raises:
        ConfigError: H is odd.
    """

    def __init__(self, step_dim: int, hidden_dim: int, hierarchical: bool = True) -> None:
        super().__init__()
        if hidden_dim % 2:
            raise ConfigError(f"hidden_dim must be even, found {hidden_dim}")
        self.hierarchical = hierarchical
        self.embed = nn.Linear(step_dim, hidden_dim)
        half = hidden_dim // 2
        self.onward = nn.LSTM(hidden_dim, half, batch_first=True)
        self.backward_in_time = nn.LSTM(hidden_dim, half, batch_first=True)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.unknown = nn.Parameter(0.1 * torch.randn(hidden_dim))
        if hierarchical:
            self.step_score = nn.Linear(hidden_dim, 1, bias=False)
            self.trajectory_score = nn.Linear(hidden_dim, 1, bias=False)

    def forward(
        self, steps: Float[Tensor, "B J T F"], valid: Bool[Tensor, "B J T"]
    ) -> TaskEncoding:
        """Encodes tasks; in each trajectory the valid steps must come first."""
        tasks, trajectories = steps.shape[:2]
        flat = torch.tanh(self.embed(steps.flatten(0, 1)))
        there = valid.flatten(0, 1)
        count = there.sum(dim=1)
        local = self._both_ways(flat, count) * there[..., None]
        if self.hierarchical:
            pooled = _pool(local, self.step_score(local)[..., 0], there)
        else:
            pooled = self._last_states(local, count)
        summaries = pooled.unflatten(0, (tasks, trajectories))
        known = (count > 0).unflatten(0, (tasks, trajectories))
        scores = torch.zeros_like(summaries[..., 0])
        if self.hierarchical:
            scores = self.trajectory_score(summaries)[..., 0]
        whole = _pool(summaries, scores, known)
        told = known.any(dim=1, keepdim=True)
        embedding = torch.where(told, self.out(whole), self.unknown)
        return TaskEncoding(embedding, local.unflatten(0, (tasks, trajectories)), whole)

    def _both_ways(
        self, x: Float[Tensor, "N T H"], count: Int64[Tensor, "N"]
    ) -> Float[Tensor, "N T H"]:
        """Reads on and back; what lies behind the last valid step is not read on the way back."""
        turned = _turned(count, x.shape[1])[..., None]
        forth, _ = self.onward(x)
        back, _ = self.backward_in_time(x.gather(1, turned.expand_as(x)))
        return torch.cat([forth, back.gather(1, turned.expand_as(back))], dim=-1)

    @staticmethod
    def _last_states(
        local: Float[Tensor, "N T H"], count: Int64[Tensor, "N"]
    ) -> Float[Tensor, "N H"]:
        """Joins the state after the last valid step with the one read back to the first."""
        half = local.shape[-1] // 2
        last = (count - 1).clamp_min(0)[:, None, None].expand(-1, 1, half)
        return torch.cat([local[..., :half].gather(1, last)[:, 0], local[:, 0, half:]], dim=-1)


def _turned(count: Int64[Tensor, "N"], length: int) -> Int64[Tensor, "N T"]:
    """Returns positions that reverse the first ``count`` of a row and leave the rest in place.

    >>> _turned(torch.tensor([2, 0]), 3)
    tensor([[1, 0, 2],
            [0, 1, 2]])
    """
    position = torch.arange(length, device=count.device).expand(len(count), -1)
    back = count[:, None] - 1 - position
    return torch.where(back >= 0, back, position)


def _pool(
    x: Float[Tensor, "N L H"], scores: Float[Tensor, "N L"], mask: Bool[Tensor, "N L"]
) -> Float[Tensor, "N H"]:
    """Returns the mean under softmax(scores) over what is there; 0 where nothing is."""
    weights = torch.softmax(scores.masked_fill(~mask, -1e9), dim=-1) * mask
    return (weights[..., None] * x).sum(dim=1)
