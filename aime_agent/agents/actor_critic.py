"""Actor and critic, learned in imagination over [h, z] (Hafner et al., 2023).

    actor     a = clip(tanh μ(s) + σ(s) ε),   σ ∈ [σ_min, σ_max]
    return    G_t = r_{t+1} + γ c_{t+1} [(1 − λ) v(s_{t+1}) + λ G_{t+1}]
    pathwise  L = −E[ Σ w_t G_t / max(1, S) ] − η H,     S = moving 5-95 % range of G
    critic    cross-entropy of two-hot G_t, on dreams and on replay
    q critic  min(q_1, q_2)(s, a), each by cross-entropy of two-hot replayed returns (Fujimoto et
              al., 2018)

w_t is the probability that the dream has not ended before t. The pathwise gradient runs through
the dynamics and through the chosen mixture component; REINFORCE uses the advantage instead.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent import distributed
from aime_agent.functional.returns import (
    lambda_returns,
    percentile_range,
    symexp_bins,
    two_hot_loss,
    two_hot_mean,
)
from aime_agent.layers.mlp import MLP, zero_output


class ActionDistribution(NamedTuple):
    """A Gaussian around a bounded mean; samples are clipped to [-1, 1]."""

    mean: Float[Tensor, "*b A"]
    std: Float[Tensor, "*b A"]

    def sample(self, noise: Float[Tensor, "*b A"]) -> tuple[Tensor, Tensor]:
        """Returns the action (clipped straight-through) and the raw sample."""
        raw = self.mean + self.std * noise
        return raw + (raw.clamp(-1.0, 1.0) - raw).detach(), raw

    def log_prob(self, raw: Float[Tensor, "*b A"]) -> Float[Tensor, "*b"]:
        """Log density of the raw sample."""
        scaled = (raw - self.mean) / self.std
        return (-0.5 * scaled.square() - self.std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """Entropy of the unclipped Gaussian in nats."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Actor(nn.Module):
    """p(a | h, z).

    Args:
        feature_dim: Width of [h, z].
        action_dim: A.
        units: Width of the two hidden layers.
        std_range: Smallest and largest standard deviation.
    """

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        units: int,
        std_range: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        super().__init__()
        self.std_range = std_range
        self.net = MLP(feature_dim, units, 2, 2 * action_dim)
        zero_output(self.net)

    def forward(self, features: Float[Tensor, "*b F"]) -> ActionDistribution:
        """Returns the distribution of the action."""
        mean, spread = self.net(features).chunk(2, dim=-1)
        low, high = self.std_range
        return ActionDistribution(torch.tanh(mean), low + (high - low) * torch.sigmoid(spread + 1))


class Critic(nn.Module):
    """v(h, z) as a distribution over exponentially spaced bins.

    Args:
        feature_dim: Width of [h, z].
        units: Width of the two hidden layers.
        num_bins: Bins of the two-hot code.
    """

    bins: Tensor

    def __init__(self, feature_dim: int, units: int, num_bins: int = 127) -> None:
        super().__init__()
        self.net = MLP(feature_dim, units, 2, num_bins)
        zero_output(self.net)
        self.register_buffer("bins", symexp_bins(num_bins, 8.0), persistent=False)

    def forward(self, features: Float[Tensor, "*b F"]) -> Float[Tensor, "*b bins"]:
        """Returns the logits."""
        return self.net(features)

    def value(self, features: Float[Tensor, "*b F"]) -> Float[Tensor, "*b"]:
        """Returns the expected value."""
        return two_hot_mean(self.net(features), self.bins)

    def loss(
        self, features: Float[Tensor, "*b F"], target: Float[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """Returns the cross-entropy against two-hot targets."""
        return two_hot_loss(self.net(features), target, self.bins)


class ActionCritic(nn.Module):
    """Two q(h, z, a) as distributions over exponentially spaced bins.

    Two critics and their minimum keep an actor that climbs q from finding its errors (Fujimoto et
    al., 2018, arXiv:1802.09477).

    Args:
        feature_dim: Width of [h, z].
        action_dim: A.
        units: Width of the two hidden layers of each.
        num_bins: Bins of the two-hot code.
    """

    bins: Tensor

    def __init__(self, feature_dim: int, action_dim: int, units: int, num_bins: int = 127) -> None:
        super().__init__()
        width = feature_dim + action_dim
        nets = [MLP(width, units, 2, num_bins) for _ in range(2)]
        for net in nets:
            zero_output(net)
        self.nets = nn.ModuleList(nets)
        self.register_buffer("bins", symexp_bins(num_bins, 8.0), persistent=False)

    def forward(
        self, features: Float[Tensor, "*b F"], actions: Float[Tensor, "*b A"]
    ) -> Float[Tensor, "*b 2 bins"]:
        """Returns the logits of both."""
        inputs = torch.cat([features, actions], dim=-1)
        return torch.stack([net(inputs) for net in self.nets], dim=-2)

    def value(
        self, features: Float[Tensor, "*b F"], actions: Float[Tensor, "*b A"]
    ) -> Float[Tensor, "*b"]:
        """Returns the smaller of the two expected values."""
        return two_hot_mean(self(features, actions), self.bins).amin(-1)

    def loss(
        self,
        features: Float[Tensor, "*b F"],
        actions: Float[Tensor, "*b A"],
        target: Float[Tensor, "*b"],
    ) -> Float[Tensor, "*b"]:
        """Returns the sum of both cross-entropies against two-hot targets."""
        both = target[..., None].expand(*target.shape, 2)
        return two_hot_loss(self(features, actions), both, self.bins).sum(-1)


class Dream(NamedTuple):
    """An imagined trajectory with what the heads say about it, time second."""

    features: Float[Tensor, "N H1 F"]
    """Entry 0 is the start."""
    actions: ActionDistribution
    """Of the first H features."""
    raw_actions: Float[Tensor, "N H A"]
    rewards: Float[Tensor, "N H"]
    """r_{t+1}, received on arriving at features 1…H."""
    continues: Float[Tensor, "N H"]
    """Probability that the episode goes on after that arrival."""


class DreamTargets(NamedTuple):
    """Returns and weights of a dream."""

    returns: Float[Tensor, "N H"]
    values: Float[Tensor, "N H"]
    weights: Float[Tensor, "N H"]


def dream_targets(
    dream: Dream, values: Float[Tensor, "N H1"], discount: float, lambda_: float
) -> DreamTargets:
    """λ-returns of a dream, and how likely each step is to be reached."""
    discounts = discount * dream.continues
    returns = lambda_returns(dream.rewards, discounts, values[:, 1:], lambda_)
    alive = torch.cumprod(dream.continues.detach(), dim=1)
    weights = torch.cat([torch.ones_like(alive[:, :1]), alive[:, :-1]], dim=1)
    return DreamTargets(returns, values[:, :-1], weights)


def actor_loss(
    dream: Dream,
    targets: DreamTargets,
    scale: Float[Tensor, ""],
    entropy_weight: float,
    pathwise: bool,
) -> Float[Tensor, ""]:
    """Negative normalised return (or advantage-weighted log-likelihood) less the entropy bonus."""
    if pathwise:
        objective = targets.returns / scale
    else:
        advantage = ((targets.returns - targets.values) / scale).detach()
        objective = advantage * dream.actions.log_prob(dream.raw_actions.detach())
    objective = objective + entropy_weight * dream.actions.entropy()
    return -(targets.weights * objective).mean()


def replay_targets(
    rewards: Float[Tensor, "B T"],
    terminated: Bool[Tensor, "B T"],
    is_first: Bool[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    discount: float,
    lambda_: float,
) -> tuple[Float[Tensor, "B T-1"], Bool[Tensor, "B T-1"]]:
    """λ-returns along replayed windows, and which rows have one.

    The last row before a new episode has no successor: its return would use another episode's
    reward, so it is left out; earlier rows bootstrap there from the value (a time limit is not an
    end).
    """
    goes_on = ~is_first[:, 1:]
    reward, value = rewards[:, 1:], values[:, 1:]
    gamma = discount * (~terminated[:, 1:]).to(values.dtype)
    # At a boundary the return is the value itself, which λ-returns then carry backwards.
    step = torch.where(goes_on, reward, values[:, :-1])
    gamma = torch.where(goes_on, gamma, torch.zeros_like(gamma))
    return lambda_returns(step, gamma, value, lambda_), goes_on


class ReturnScale(nn.Module):
    """Moving average of the 5-95 % range of returns, at least 1.

    Args:
        rate: Share of the newest range.
    """

    range: Tensor
    seen: Tensor

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("range", torch.tensor(0.0))
        self.register_buffer("seen", torch.tensor(0.0))

    @torch.no_grad()
    def update(self, returns: Float[Tensor, "*b"]) -> Float[Tensor, ""]:
        """Takes in new returns and gives the scale to divide by."""
        newest = percentile_range(distributed.gathered(returns))
        rate = torch.where(self.seen > 0, self.rate, 1.0)
        self.range.lerp_(newest, rate)
        self.seen.fill_(1.0)
        return self.range.clamp(min=1.0)
