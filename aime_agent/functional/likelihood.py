"""Discretised logistic likelihood of 8-bit pixels (Kingma et al., 2016; Salimans et al., 2017).

    p(x) = σ((x + δ/2 − μ) / s) − σ((x − δ/2 − μ) / s),    x ∈ {0, δ, 2δ, …, 1},    δ = 1/255

The first bin reaches down to −∞ and the last up to ∞, so the 256 probabilities sum to 1: it is a
probability, in the same nats as a KL. Logarithms of small differences are exact through

    log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^{a − b})

>>> levels = torch.arange(256) / 255
>>> total = discretised_logistic(levels, torch.tensor(0.3), torch.tensor(-3.0)).exp().sum()
>>> torch.testing.assert_close(total, torch.tensor(1.0))
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def discretised_logistic(
    x: Float[Tensor, "*batch"],
    mean: Float[Tensor, "*batch"] | Float[Tensor, ""],
    log_scale: Float[Tensor, "..."],
    num_values: int = 256,
) -> Float[Tensor, "*batch"]:
    """Returns log p(x) in nats, elementwise.

    Args:
        x: Values in [0, 1], multiples of 1 / (num_values − 1).
        mean: μ, any real number.
        log_scale: log s, in the units of x.
        num_values: Number of bins.
    """
    step = 1.0 / (num_values - 1)
    precision = torch.exp(-log_scale)
    upper = (x + step / 2 - mean) * precision
    lower = (x - step / 2 - mean) * precision
    below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
    inside = below + above + torch.log(-torch.expm1(-step * precision))
    first, last = x < step / 2, x > 1 - step / 2
    return torch.where(first, below, torch.where(last, above, inside))


def bits_per_dimension(
    nats: Float[Tensor, "*batch"], num_dimensions: int
) -> Float[Tensor, "*batch"]:
    """Turns nats per frame into bits per number in the frame; 8 is what raw pixels take.

    >>> bits_per_dimension(torch.tensor(math.log(2.0) * 24), 3)
    tensor(8.)
    """
    return nats / (num_dimensions * math.log(2.0))
