"""Reward and continuation, read from the features [h, z].

The reward is a categorical over symexp-spaced bins, trained with the two-hot cross-entropy
(Hafner et al., 2023); its mean starts at 0 because the last layer does. Continuation is a Bernoulli.
F is the width of the features, N the number of bins.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.errors import ConfigError
from aime_agent.functional.returns import symexp_bins, two_hot_loss, two_hot_mean
from aime_agent.layers.mlp import MLP, zero_output


class RewardHead(nn.Module):
    """Predicts a scalar as a distribution over fixed bins.

    The default bins reach ±402 and are 0.1 apart around zero, which suits rewards in [0, 1] summed
    over an action repeat as well as unscaled ones.

    Args:
        in_features: Width of the features.
        units: Width of the hidden layers.
        num_bins: Number of bins; odd, so that one of them is 0.
        limit: Outermost bins, in symlog units.
        num_layers: Number of hidden layers.
    """

    bins: Float[Tensor, "N"]

    def __init__(
        self,
        in_features: int = 548,
        units: int = 96,
        num_bins: int = 127,
        limit: float = 6.0,
        num_layers: int = 1,
    ) -> None:
        super().__init__()
        if num_bins < 3 or num_bins % 2 == 0:
            raise ConfigError(f"RewardHead.num_bins must be odd and at least 3, found {num_bins}")
        if limit <= 0:
            raise ConfigError(f"RewardHead.limit must be positive, found {limit}")
        self.net = MLP(in_features, units, num_layers, out_features=num_bins)
        zero_output(self.net)
        self.register_buffer("bins", symexp_bins(num_bins, limit), persistent=False)

    def forward(self, features: Float[Tensor, "*b F"]) -> Float[Tensor, "*b N"]:
        """Returns the logits over bins."""
        out: Tensor = self.net(features)
        return out

    def mean(self, logits: Float[Tensor, "*b N"]) -> Float[Tensor, "*b"]:
        """Returns the expected reward."""
        return two_hot_mean(logits, self.bins)

    def loss(
        self, logits: Float[Tensor, "*b N"], target: Float[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """Returns the cross-entropy, one per element."""
        return two_hot_loss(logits, target, self.bins)


class ContinuationHead(nn.Module):
    """Predicts whether the episode goes on.

    Args:
        in_features: Width of the features.
        units: Width of the hidden layers.
        num_layers: Number of hidden layers.
    """

    def __init__(self, in_features: int = 548, units: int = 64, num_layers: int = 1) -> None:
        super().__init__()
        self.net = MLP(in_features, units, num_layers, out_features=1)

    def forward(self, features: Float[Tensor, "*b F"]) -> Float[Tensor, "*b"]:
        """Returns the logit of going on."""
        out: Tensor = self.net(features).squeeze(-1)
        return out

    def mean(self, logits: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Returns the probability of going on."""
        return torch.sigmoid(logits)

    def loss(
        self, logits: Float[Tensor, "*b"], target: Float[Tensor, "*b"] | Bool[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """Returns the binary cross-entropy; the target is 1 where the episode goes on."""
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
