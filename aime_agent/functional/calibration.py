"""Does the spread of sampled futures cover the truth? Ranks and interval coverage.

    rank      = #{samples < truth} (+ a fair draw among ties),   uniform on 0..N if calibrated
    interval  = between the k-th and the (N + 1 − k)-th smallest sample, k = (N + 1)(1 − level) / 2

With N = 19 samples the 50 % and the 90 % interval are exact: k = 5 and k = 1 of 20 ranks. A truth
that falls outside too often means too little spread; ranks that pile up in the middle, too much.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aime_agent.errors import ConfigError


def ranks(
    samples: Float[Tensor, "N *b"], truth: Float[Tensor, "*b"], uniform: Float[Tensor, "*b"]
) -> Int[Tensor, "*b"]:
    """Returns how many samples lie below the truth; ``uniform`` in [0, 1) decides among ties.

    >>> ranks(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(2.5), torch.tensor(0.0)).item()
    2
    """
    below = (samples < truth).sum(0)
    ties = (samples == truth).sum(0)
    return below + (uniform * (ties + 1)).floor().long()


def coverage(rank: Int[Tensor, "*b"], num_samples: int, level: float) -> float:
    """Returns the share of truths inside the central interval of a nominal level.

    Raises:
        ConfigError: N samples have no interval of exactly that level.
    """
    cut = (num_samples + 1) * (1 - level) / 2
    low = round(cut)
    if low < 1 or abs(cut - low) > 1e-6:
        raise ConfigError(
            f"num_samples must make (N + 1)(1 − {level:g}) / 2 a whole number ≥ 1, found N = "
            f"{num_samples}; 19 serves 0.5 and 0.9"
        )
    return ((rank >= low) & (rank <= num_samples - low)).double().mean().item()


def histogram(rank: Int[Tensor, "*b"], num_samples: int) -> list[float]:
    """Returns the share of each rank 0..N; 1 / (N + 1) each if calibrated."""
    counts = torch.bincount(rank.flatten(), minlength=num_samples + 1).double()
    return (counts / counts.sum()).tolist()
