"""Stick-breaking weights (Sethuraman, 1994) and the concentration's Gamma posterior.

    π_k = v_k ∏_{j<k} (1 − v_j),    π_K = ∏_{j<K} (1 − v_j)

    E[π_k] = E[v_k] ∏_{j<k} (1 − E[v_j])              (independent sticks)
    KL(Γ(A, B) ‖ Γ(A₀, B₀)) = (A − A₀) ψ(A) − log Γ(A) + log Γ(A₀) + A₀ log(B/B₀) + A (B₀ − B)/B

Gamma distributions are given by shape and rate. J = K − 1 sticks make K weights.

>>> sticks = torch.tensor([0.5, 0.5])
>>> log_weights(sticks.log(), torch.log1p(-sticks)).exp()
tensor([0.5000, 0.2500, 0.2500])
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aime_agent.functional.kumaraswamy import log_mean_stick


class GammaMoments(NamedTuple):
    """What the stick divergence needs to know of the concentration."""

    mean: Float[Tensor, "*b"]
    mean_log: Float[Tensor, "*b"]


class Truncation(NamedTuple):
    """Weights without the light tail."""

    pi: Float[Tensor, "*b K"]
    active_components: Int[Tensor, "*b"]


def log_weights(
    log_v: Float[Tensor, "*b J"], log_rest: Float[Tensor, "*b J"]
) -> Float[Tensor, "*b K"]:
    """Returns log π from log v and log(1 − v), one more weight than sticks."""
    zero = log_v.new_zeros(*log_v.shape[:-1], 1)
    before = torch.cat((zero, log_rest.cumsum(-1)), -1)
    return before + torch.cat((log_v, zero), -1)


def mean_log_weights(
    log_a: Float[Tensor, "*b J"], log_b: Float[Tensor, "*b J"]
) -> Float[Tensor, "*b K"]:
    """Returns log E[π] for Kumaraswamy sticks.

    With a = 1 and b_k = K − k the mean weights are exactly uniform:

    >>> mean_log_weights(torch.zeros(3), torch.tensor([3.0, 2.0, 1.0]).log()).exp()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return log_weights(*log_mean_stick(log_a, log_b))


def mix_uniform(log_pi: Float[Tensor, "*b K"], share: float) -> Float[Tensor, "*b K"]:
    """Returns log((1 − share) π + share / K), which bounds every weight from below."""
    if share == 0:
        return log_pi
    return log_pi.exp().mul(1 - share).add(share / log_pi.shape[-1]).log()


def truncate_weights(pi: Float[Tensor, "*b K"], threshold: float) -> Truncation:
    """Keeps the fewest heavy components that reach ``threshold``; the lightest kept takes the rest.

    For sampling and reports only: a divergence needs all components.

    >>> truncate_weights(torch.tensor([0.6, 0.1, 0.3]), 0.85).pi
    tensor([0.6000, 0.0000, 0.4000])
    """
    ordered, order = pi.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = before < threshold
    kept[..., 0] = True
    rank = torch.arange(pi.shape[-1], device=pi.device)
    last = rank == kept.sum(-1, keepdim=True) - 1
    leftover = torch.where(kept, 0.0, ordered).sum(-1, keepdim=True)
    cut = torch.where(kept, ordered, 0.0) + leftover * last
    return Truncation(torch.zeros_like(pi).scatter(-1, order, cut), kept.sum(-1))


def effective_components(pi: Float[Tensor, "*b K"], threshold: float = 1e-3) -> Int[Tensor, "*b"]:
    """Returns 1 + the number of heaviest-first partial sums of π below 1 − threshold.

    >>> effective_components(torch.tensor([0.5, 0.4999, 0.0001]))
    tensor(2)
    """
    partial = pi.sort(-1, descending=True).values.cumsum(-1)
    return 1 + (partial[..., :-1] < 1 - threshold).sum(-1)


def gamma_moments(shape: Float[Tensor, "*b"], rate: Float[Tensor, "*b"]) -> GammaMoments:
    """Returns E[α] = A/B and E[log α] = ψ(A) − log B."""
    return GammaMoments(shape / rate, torch.digamma(shape) - rate.log())


def gamma_kl(
    shape: Float[Tensor, "*b"],
    rate: Float[Tensor, "*b"],
    prior_shape: Float[Tensor, "*#b"],
    prior_rate: Float[Tensor, "*#b"],
) -> Float[Tensor, "*b"]:
    """Returns KL(Γ(shape, rate) ‖ Γ(prior_shape, prior_rate)).

    >>> one = torch.tensor(1.0)
    >>> gamma_kl(3 * one, 2 * one, one, one)
    tensor(0.3456)
    """
    normalisers = torch.lgamma(prior_shape) - torch.lgamma(shape)
    rates = prior_shape * (rate.log() - prior_rate.log()) + shape * (prior_rate - rate) / rate
    return (shape - prior_shape) * torch.digamma(shape) + normalisers + rates
