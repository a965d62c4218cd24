"""Returns, and regression by classification over exponentially spaced bins.

    symlog x = sign x · log(1 + |x|),        symexp is its inverse
    G_t = r_t + γ_t [(1 − λ) v_{t+1} + λ G_{t+1}],        G_{H−1} = r_{H−1} + γ_{H−1} v_H
    n-step: the same G_0 with λ = 1

Two-hot targets, symexp bins and the percentile range follow Hafner et al. (2023, arXiv:2301.04104).
The two weights interpolate between neighbouring bins in the original units, so the mean of an
encoded value is that value.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def symlog(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns sign x · log(1 + |x|).

    >>> symlog(torch.tensor([-1.0, 0.0]))
    tensor([-0.6931,  0.0000])
    """
    return x.sign() * x.abs().log1p()


def symexp(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns sign x · (e^{|x|} − 1)."""
    return x.sign() * x.abs().expm1()


def symexp_bins(num_bins: int, limit: float) -> Float[Tensor, "num_bins"]:
    """Returns ``num_bins`` centres from symexp(−limit) to symexp(limit), dense around zero."""
    return symexp(torch.linspace(-limit, limit, num_bins))


def two_hot(x: Float[Tensor, "*b"], bins: Float[Tensor, "n"]) -> Float[Tensor, "*b n"]:
    """Returns the weights on the two bins that enclose x; outside the range, one bin.

    >>> two_hot(torch.tensor(0.25), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.7500, 0.2500])
    """
    right, weight = _bracket(x, bins)
    target = torch.zeros(*x.shape, bins.shape[0], dtype=bins.dtype, device=x.device)
    target = target.scatter(-1, right[..., None], weight[..., None])
    return target.scatter(-1, right[..., None] - 1, 1 - weight[..., None])


def two_hot_mean(logits: Float[Tensor, "*b n"], bins: Float[Tensor, "n"]) -> Float[Tensor, "*b"]:
    """Returns Σ softmax(logits)_i · bin_i."""
    return torch.softmax(logits, -1) @ bins


def two_hot_quantile(
    logits: Float[Tensor, "*b n"], bins: Float[Tensor, "n"], uniform: Float[Tensor, "*b"]
) -> Float[Tensor, "*b"]:
    """Returns a draw from the distribution over bins by its inverse: the first bin with F ≥ u."""
    cumulative = torch.softmax(logits, -1).cumsum(-1)
    index = torch.searchsorted(cumulative, uniform[..., None].contiguous()).squeeze(-1)
    return bins[index.clamp_max(len(bins) - 1)]


def two_hot_loss(
    logits: Float[Tensor, "*b n"], target: Float[Tensor, "*b"], bins: Float[Tensor, "n"]
) -> Float[Tensor, "*b"]:
    """Returns the cross-entropy of the two-hot target, without building it."""
    right, weight = _bracket(target, bins)
    log_p = torch.log_softmax(logits, -1)
    above = log_p.gather(-1, right[..., None]).squeeze(-1)
    below = log_p.gather(-1, right[..., None] - 1).squeeze(-1)
    return -(weight * above + (1 - weight) * below)


def lambda_returns(
    rewards: Float[Tensor, "B H"],
    discounts: Float[Tensor, "B H"],
    next_values: Float[Tensor, "B H"],
    lambda_: float = 0.95,
) -> Float[Tensor, "B H"]:
    """Returns G_t for t = 0 … H−1.

    Args:
        rewards: r_t, received on the step from state t to t+1.
        discounts: γ · P(the episode goes on after that step).
        next_values: v_{t+1}.
        lambda_: 0 for one-step targets, 1 for Monte-Carlo returns.

    >>> one = torch.ones(1, 2)
    >>> lambda_returns(one, 0.5 * one, 4 * one, lambda_=1.0)
    tensor([[2.5000, 3.0000]])
    """
    steps = (rewards + (1 - lambda_) * discounts * next_values).unbind(1)
    carries = (lambda_ * discounts).unbind(1)
    following = next_values[:, -1]
    returns = []
    for step, carry in zip(reversed(steps), reversed(carries), strict=True):
        following = torch.addcmul(step, carry, following)
        returns.append(following)
    return torch.stack(returns[::-1], 1)


def n_step_return(
    rewards: Float[Tensor, "B H"], discounts: Float[Tensor, "B H"], value: Float[Tensor, "B"]
) -> Float[Tensor, "B"]:
    """Returns r_0 + γ_0 r_1 + … + γ_0…γ_{H−2} r_{H−1} + γ_0…γ_{H−1} v_H.

    Args:
        rewards: r_t, received on the step from state t to t+1.
        discounts: γ_t = γ · P(the episode goes on after that step).
        value: v_H, of the state reached last.

    >>> n_step_return(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.1]]), torch.tensor([40.0]))
    tensor([4.])
    """
    reached = torch.cumprod(discounts, dim=1)
    return rewards[:, 0] + (reached[:, :-1] * rewards[:, 1:]).sum(1) + reached[:, -1] * value


def percentile_range(
    x: Float[Tensor, "*b"], low: float = 0.05, high: float = 0.95
) -> Float[Tensor, ""]:
    """Returns the distance between two quantiles of all entries.

    >>> percentile_range(torch.arange(101.0))
    tensor(90.)
    """
    edges = torch.quantile(x.flatten(), torch.tensor([low, high], dtype=x.dtype, device=x.device))
    return edges[1] - edges[0]


def _bracket(x: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the index of the right neighbour and its weight."""
    x = x.to(bins.dtype).clamp(bins[0], bins[-1])
    right = torch.searchsorted(bins, x.contiguous()).clamp(1, bins.shape[0] - 1)
    left_bin, right_bin = bins[right - 1], bins[right]
    return right, (x - left_bin) / (right_bin - left_bin)
