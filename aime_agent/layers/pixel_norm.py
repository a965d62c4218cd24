"""Pixels centred on a background, and the variance the likelihood gives them.

    x̃ = x − μ,    −log p(x | x̂) = ½ ρ Σ (x̃ − x̂)² + const,    ρ = max(1, E / (½ mean_n Σ x̃_n²))

μ is the mean frame and E the energy (nats per frame) that the moving part of a frame gets: where
only 2 % of the pixels ever change, unit variance leaves them a dozen nats beside the KL, and the
model ignores them. Until `fit` has seen frames, μ = ½ and ρ = 1 (unit variance).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """Centres frames, scales the encoder's input, and holds the likelihood's precision.

    Args:
        channels: Image channels C.
        height: Image height H.
        width: Image width W.
    """

    mean: Tensor
    gain: Tensor
    precision: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, height, width), 0.5))
        self.register_buffer("gain", torch.tensor(2.0))
        self.register_buffer("precision", torch.tensor(1.0))

    def center(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Returns x − μ, what the decoders predict."""
        return frames - self.mean

    def encoder_input(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Returns the centred frames at about a quarter of unit variance (sparse, so peaky)."""
        return (frames - self.mean) * self.gain

    def restore(self, centered: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Returns frames in [0, 1] from a decoder's output."""
        return (centered + self.mean).clamp(0.0, 1.0)

    @torch.no_grad()
    def fit(self, frames: Float[Tensor, "N C H W"], energy: float) -> None:
        """Sets background, gain and precision from frames of the task.

        Args:
            frames: Frames in [0, 1].
            energy: E above, in nats per frame; 0 keeps unit variance.
        """
        self.mean.copy_(frames.mean(0))
        squared = (frames - self.mean).square().flatten(1).sum(1).mean().clamp(min=1e-3)
        self.gain.copy_(0.25 * (self.mean.numel() / squared).sqrt())
        self.precision.copy_((energy / (0.5 * squared)).clamp(min=1.0))
