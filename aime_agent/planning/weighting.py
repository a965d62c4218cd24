"""From scores of action sequences to the next proposals: the two weightings and their moments.

    CEM    w_i = 1/k for the k best, else 0                            (Rubinstein, 1999)
    MPPI   w_i ∝ exp(S_i / τ) for the k best, else 0                   (Williams et al., 2017)

    μ = Σ w_i a_i        σ² = Σ w_i (a_i − μ)²

MPPI on the best alone is TD-MPC's form (Hansen et al., 2022, arXiv:2203.04955); with k equal to all
samples it is the path integral itself.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def elite_weights(scores: Float[Tensor, "N P"], count: int) -> Float[Tensor, "N P"]:
    """Returns equal weights for the ``count`` best of each row.

    >>> elite_weights(torch.tensor([[3.0, 1.0, 2.0]]), 2)
    tensor([[0.5000, 0.0000, 0.5000]])
    """
    best = scores.topk(count, dim=1).indices
    return torch.zeros_like(scores).scatter(1, best, 1.0 / count)


def exponential_weights(
    scores: Float[Tensor, "N P"], count: int, temperature: float
) -> Float[Tensor, "N P"]:
    """Returns softmax(S/τ) over the ``count`` best of each row, 0 for the others.

    >>> exponential_weights(torch.tensor([[0.0, -9.0, 0.0]]), 2, 0.5)
    tensor([[0.5000, 0.0000, 0.5000]])
    """
    best = scores.topk(count, dim=1)
    return torch.zeros_like(scores).scatter(
        1, best.indices, torch.softmax(best.values / temperature, dim=1)
    )


def weighted_moments(
    actions: Float[Tensor, "N P H A"], weights: Float[Tensor, "N P"]
) -> tuple[Float[Tensor, "N H A"], Float[Tensor, "N H A"]]:
    """Returns mean and standard deviation of action sequences under weights that sum to 1."""
    share = weights[:, :, None, None]
    mean = (share * actions).sum(1)
    variance = (share * (actions - mean[:, None]).square()).sum(1)
    return mean, variance.sqrt()
