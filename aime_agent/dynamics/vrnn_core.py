"""The recurrence of the world model (Chung et al., 2015), and its predicted context.

    context^_t = LN(g(h_t, z_t))
    h_{t+1}    = LSTM([z_t, context^_t, a_t], h_t),        h_0 = tanh θ learned

The LSTM reads the *predicted* context only: nothing that a dream lacks ever enters it. H hidden,
D latent, C context, A action.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.layers.lstm import LSTMLayer
from aime_agent.layers.mlp import MLP


class CoreState(NamedTuple):
    """State of `VRNNCore`."""

    hidden: Float[Tensor, "B H"]
    """Output of the top layer: the h of all other modules."""
    cell: Float[Tensor, "B Z"]
    """Everything else: L cells, then the hidden states of the L − 1 lower layers."""


@dataclass(frozen=True, kw_only=True)
class VRNNCoreConfig:
    """Sizes of `VRNNCore`."""

    latent_dim: int = 36
    context_dim: int = 256
    """0 for a recurrence without context."""
    action_dim: int = 6
    hidden_dim: int = 512
    n_lstm_layers: int = 1
    use_orthogonal: bool = True
    units: int = 128
    """Hidden width of g."""

    def __post_init__(self) -> None:
        """Checks that all sizes are positive."""
        for name in ("latent_dim", "hidden_dim", "n_lstm_layers", "units"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"VRNNCore.{name} must be at least 1, found {getattr(self, name)}"
                )
        for name in ("action_dim", "context_dim"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"VRNNCore.{name} must not be negative, found {getattr(self, name)}"
                )


class VRNNCore(nn.Module):
    """The recurrence (h, cell) ← (z, predicted context, action)."""

    def __init__(self, config: VRNNCoreConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or VRNNCoreConfig(), **overrides)
        inputs = c.latent_dim + c.context_dim + c.action_dim
        self.lstm = LSTMLayer(inputs, c.hidden_dim, c.n_lstm_layers, c.use_orthogonal)
        features = c.hidden_dim + c.latent_dim
        self.g = MLP(features, c.units, out_features=c.context_dim) if c.context_dim else None
        self.h_0 = nn.Parameter(torch.zeros(c.hidden_dim))
        self.c_0 = nn.Parameter(torch.zeros(self.cell_dim))

    @property
    def cell_dim(self) -> int:
        """Width of `CoreState.cell`."""
        return (2 * self.config.n_lstm_layers - 1) * self.config.hidden_dim

    def initial(self, batch_size: int) -> CoreState:
        """Returns the learned state before the first observation."""
        hidden = self.h_0.tanh().expand(batch_size, -1)
        return CoreState(hidden, self.c_0.expand(batch_size, -1))

    def predict_context(
        self, hidden: Float[Tensor, "*b H"], z: Float[Tensor, "*b D"]
    ) -> Float[Tensor, "*b C"]:
        """Returns context^, normalised as the observed context is (no affine part)."""
        if self.g is None:
            return z[..., :0]
        raw = self.g(torch.cat((hidden, z), -1))
        return F.layer_norm(raw, (self.config.context_dim,))

    def step(
        self,
        hidden: Float[Tensor, "B H"],
        cell: Float[Tensor, "B Z"],
        z: Float[Tensor, "B D"],
        context_hat: Float[Tensor, "B C"],
        action: Float[Tensor, "B A"],
    ) -> CoreState:
        """Returns the state at t + 1."""
        x = torch.cat((z, context_hat, action), -1)
        layers = self.config.n_lstm_layers
        if layers == 1:
            new_hidden, new_cell = self.lstm.step(x, (hidden,), (cell,))
            return CoreState(new_hidden[0], new_cell[0])
        parts = cell.chunk(2 * layers - 1, -1)
        new_hidden, new_cell = self.lstm.step(x, (*parts[layers:], hidden), parts[:layers])
        return CoreState(new_hidden[-1], torch.cat((*new_cell, *new_hidden[:-1]), -1))
