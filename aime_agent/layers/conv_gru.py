"""A gated recurrent unit on feature maps (Ballas et al., 2016, arXiv:1511.06432).

    r, u = σ(GN(W_g * [x, h]))
    c    = tanh(GN(W_c * [x, r ⊙ h]))
    h'   = u ⊙ h + (1 - u) ⊙ c

``*`` is convolution, GN group normalisation over all channels of one gate.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError


class ConvGRUCell(nn.Module):
    """One step of a convolutional GRU."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int,
        cuda_flag: bool | None = None,  # noqa: ARG002
        group_norm: bool = True,
    ) -> None:
        """Builds the cell.

        Args:
            input_size: Channels of the input.
            hidden_size: Channels of the state.
            kernel_size: Odd side of the kernels.
            cuda_flag: Accepted for the seeds' calls and ignored: the device follows the input.
            group_norm: Whether gates and candidate are normalised.
        """
        super().__init__()
        if kernel_size % 2 == 0:
            raise ConfigError(f"ConvGRUCell.kernel_size must be odd, found {kernel_size}")
        if min(input_size, hidden_size) < 1:
            sizes = f"{input_size} and {hidden_size}"
            raise ConfigError(f"ConvGRUCell.input_size and hidden_size must be >= 1, found {sizes}")
        width, pad = input_size + hidden_size, kernel_size // 2
        self.hidden_size = hidden_size
        self.gates = nn.Conv2d(width, 2 * hidden_size, kernel_size, padding=pad)
        self.candidate = nn.Conv2d(width, hidden_size, kernel_size, padding=pad)
        self.norm_gates = nn.GroupNorm(2, 2 * hidden_size) if group_norm else nn.Identity()
        self.norm_candidate = nn.GroupNorm(1, hidden_size) if group_norm else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B I H W"], h: Float[Tensor, "B C H W"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Returns the next state; a missing state is zero."""
        if h is None:
            h = x.new_zeros(x.shape[0], self.hidden_size, *x.shape[2:])
        gates = self.norm_gates(self.gates(torch.cat([x, h], dim=1)))
        reset, update = gates.sigmoid().chunk(2, dim=1)
        candidate = self.norm_candidate(self.candidate(torch.cat([x, reset * h], dim=1)))
        return torch.lerp(candidate.tanh().to(h.dtype), h, update.to(h.dtype))
