"""Which of these is which of those: optimal matching, and soft retrieval by similarity.

    σ*  = argmin_σ Σ_i c[i, σ(i)]                                    (Kuhn, 1955)
    w_k = softmax_k(cos(query, key_k) / τ),    found = Σ_k w_k value_k

The matching is discrete and has no gradient; the retrieval is differentiable in query and keys.

>>> match(torch.tensor([[9.0, 1.0], [2.0, 9.0]]))
tensor([1, 0])
"""

from functools import cache
from itertools import permutations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

# All 720 orders of six are scored at once, without leaving the device; from there on scipy is asked.
MOST_BY_ENUMERATION = 6


@torch.no_grad()
def match(cost: Float[Tensor, "*batch S S"]) -> Int[Tensor, "*batch S"]:
    """Returns for each row the column it is assigned, so that the total cost is least.

    Among equally good assignments the first in lexical order is taken (up to six).
    """
    size = cost.shape[-1]
    if size > MOST_BY_ENUMERATION:
        return _solve(cost)
    orders = torch.tensor(_orders(size), device=cost.device)
    rows = torch.arange(size, device=cost.device)
    best = cost[..., rows, orders].sum(-1).argmin(-1)
    return orders[best]


def squared_distances(
    a: Float[Tensor, "*batch S D"], b: Float[Tensor, "*batch S D"]
) -> Float[Tensor, "*batch S S"]:
    """Returns ‖a_i − b_j‖² for all pairs."""
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)


def reorder(
    values: Float[Tensor, "*batch S D"], order: Int[Tensor, "*batch S"]
) -> Float[Tensor, "*batch S D"]:
    """Returns row ``order[i]`` of ``values`` at place i."""
    return values.gather(-2, order.unsqueeze(-1).expand(*order.shape, values.shape[-1]))


def similarity_weights(
    query: Float[Tensor, "*batch D"], keys: Float[Tensor, "*batch S D"], temperature: float = 0.1
) -> Float[Tensor, "*batch S"]:
    """Returns the share of each key: softmax of its cosine with the query over the temperature."""
    cosine = F.cosine_similarity(query.unsqueeze(-2), keys, dim=-1)
    return torch.softmax(cosine / temperature, dim=-1)


@cache
def _orders(size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(permutations(range(size)))


def _solve(cost: Tensor) -> Tensor:
    """The matchings of many costs, one by one on the CPU."""
    from scipy.optimize import linear_sum_assignment

    flat = cost.reshape(-1, *cost.shape[-2:]).cpu().numpy()
    columns = [torch.from_numpy(linear_sum_assignment(c)[1]) for c in flat]
    return torch.stack(columns).to(cost.device).view(cost.shape[:-1])
