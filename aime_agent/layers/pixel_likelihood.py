"""The decoder's likelihood where it is a probability: one learned logistic scale per channel.

    −log p(o | ô) = −Σ_pixels log(σ(·) − σ(·))          (`functional.likelihood`)

The scale is shared by all pixels and learned with the decoder (as in Rybkin et al., 2021): it
settles where it describes the errors that the decoder makes, and so weighs pixels against the KL
without a factor chosen by hand.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.functional.likelihood import discretised_logistic

LOWEST_LOG_SCALE = -7.0
"""A quarter of the width of a bin: below, the probability of the right bin gains nothing."""


class LogisticLikelihood(nn.Module):
    """Negative log likelihood of frames in patch space.

    Args:
        channels: Image channels C.
        patch: Side of a patch.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((channels,), math.log(0.1)))
        self.per_channel = patch * patch

    def forward(
        self, mean: Float[Tensor, "N P h w"], target: Float[Tensor, "N P h w"]
    ) -> Float[Tensor, " N"]:
        """Returns nats per frame.

        Args:
            mean: Decoded frames, background included, not clamped.
            target: Frames in [0, 1].
        """
        scale = self.log_scale.clamp_min(LOWEST_LOG_SCALE).repeat_interleave(self.per_channel)
        return -discretised_logistic(target, mean, scale[:, None, None]).flatten(1).sum(-1)

    @torch.no_grad()
    def fit(self, residuals: Float[Tensor, "N C H W"]) -> None:
        """Starts the scale at the one whose variance, s² π² / 3, the residuals have."""
        spread = residuals.square().mean((0, 2, 3)).sqrt().clamp_min(1e-3)
        self.log_scale.copy_((spread * math.sqrt(3) / math.pi).log())
