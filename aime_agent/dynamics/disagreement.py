"""How little is known: the variance of bootstrapped heads that predict the next context.

    d(h, z, a) = mean_c Var_k f_k(h, z, a)_c,      f_k trained on ‖f_k(h_t, z_t, a_t) − context_{t+1}‖²

after Pathak et al., 2019 (arXiv:1906.04161) and Sekar et al., 2020 (arXiv:2005.05960). Each head sees
the half of the transitions that a hash of the action chooses for it, so a transition is always seen by
the same heads, however often it is replayed. Features and target are stopped: nothing else learns from
it. Contexts have unit variance, so d is about 0 where the heads agree and about 1 where they guess.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError

_STRIDE = 1e3
"""Spreads actions over the hash's period; neighbours differ."""


class Disagreement(nn.Module):
    """K small networks side by side, one matrix product each for all.

    Args:
        feature_dim: Width of [h, z].
        action_dim: A.
        context_dim: Width of the predicted context.
        heads: K, at least 2.
        units: Width of the hidden layer.
    """

    def __init__(
        self, feature_dim: int, action_dim: int, context_dim: int, heads: int = 4, units: int = 32
    ) -> None:
        super().__init__()
        if heads < 2:
            raise ConfigError(f"Disagreement.heads must be at least 2, found {heads}")
        wide = feature_dim + action_dim
        self.first = nn.Parameter(torch.randn(heads, wide, units) / wide**0.5)
        self.bias = nn.Parameter(torch.zeros(heads, 1, units))
        self.last = nn.Parameter(torch.randn(heads, units, context_dim) / units**0.5)

    def predict(
        self, features: Float[Tensor, "*b F"], action: Float[Tensor, "*b A"]
    ) -> Float[Tensor, "K *b c"]:
        """Returns each head's next context."""
        x = torch.cat([features, action], dim=-1)
        hidden = torch.nn.functional.silu(x.flatten(0, -2) @ self.first + self.bias)
        return (hidden @ self.last).unflatten(1, x.shape[:-1])

    def forward(
        self, features: Float[Tensor, "*b F"], action: Float[Tensor, "*b A"]
    ) -> Float[Tensor, "*b"]:
        """Returns d: the variance over heads (of a sample, K − 1), mean over the context."""
        return self.predict(features, action).var(dim=0).mean(dim=-1)

    def loss(
        self,
        features: Float[Tensor, "*b F"],
        action: Float[Tensor, "*b A"],
        context: Float[Tensor, "*b c"],
        keep: Bool[Tensor, "*b"],
    ) -> Float[Tensor, ""]:
        """Returns the mean squared error over the transitions that each head may see.

        Args:
            features: [h_t, z_t]; stopped here.
            action: a_t.
            context: context_{t+1}; stopped here.
            keep: False where t and t+1 belong to different episodes.
        """
        error = (self.predict(features.detach(), action) - context.detach()).square().mean(-1)
        seen = bootstrap_mask(action, len(self.first)) & keep
        return (error * seen).sum() / seen.sum().clamp(min=1)


def bootstrap_mask(action: Float[Tensor, "*b A"], heads: int) -> Bool[Tensor, "{heads} *b"]:
    """Returns which heads see which transitions: each about half of them, always the same."""
    width = action.shape[-1]
    rows = torch.arange(1, heads + 1, device=action.device, dtype=torch.float64)
    columns = torch.arange(1, width + 1, device=action.device, dtype=torch.float64)
    directions = torch.sin(rows[:, None] * 12.9898 + columns * 78.233) * _STRIDE
    return (action.double() @ directions.T + rows).sin().movedim(-1, 0) > 0
