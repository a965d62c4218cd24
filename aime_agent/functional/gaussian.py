"""Diagonal Gaussians, and the divergence from one of them to a mixture.

    KL_k    = Σ_d [log σ_k − log σ_q + (σ_q² + (μ_q − μ_k)²) / 2σ_k² − ½]
    U_τ     = −τ log Σ_k π_k exp(−KL_k / τ)                       (Hershey & Olsen, 2007, at τ = 1)
    L       = −H[q] − log Σ_k π_k N(μ_q; μ_k, σ_q² + σ_k²)        (Jensen)

    L ≤ KL(q ‖ Σ_k π_k p_k) ≤ U_1 ≤ U_τ   for τ ≥ 1,   and   U_τ ≥ 0.

U has no variance and is never negative, so it is what training uses; the Monte-Carlo estimate is a
monitor. Here D is the latent size.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(std²)), as a tree of tensors."""

    mean: Float[Tensor, "*b D"]
    std: Float[Tensor, "*b D"]

    @property
    def logvar(self) -> Float[Tensor, "*b D"]:
        """Logarithm of the variance."""
        return 2 * self.std.log()

    def rsample(self, normal: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
        """Returns μ + σ·noise."""
        return reparameterise(self.mean, self.std, normal)

    def log_prob(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b"]:
        """Returns log N(x; μ, σ²), summed over D."""
        return gaussian_log_prob(x, self.mean, self.std)

    def entropy(self) -> Float[Tensor, "*b"]:
        """Returns H in nats."""
        return gaussian_entropy(self.std)

    def kl(self, other: "DiagonalGaussian") -> Float[Tensor, "*b"]:
        """Returns KL(self ‖ other)."""
        return gaussian_kl(self.mean, self.std, other.mean, other.std)

    def detach(self) -> "DiagonalGaussian":
        """Returns the same numbers without a graph."""
        return DiagonalGaussian(self.mean.detach(), self.std.detach())


def reparameterise(
    mean: Float[Tensor, "*b D"], std: Float[Tensor, "*b D"], normal: Float[Tensor, "*b D"]
) -> Float[Tensor, "*b D"]:
    """Returns μ + σ·noise."""
    return torch.addcmul(mean, std, normal)


def gaussian_log_prob(
    x: Float[Tensor, "*#b D"], mean: Float[Tensor, "*#b D"], std: Float[Tensor, "*#b D"]
) -> Float[Tensor, "*#b"]:
    """Returns log N(x; μ, diag σ²), summed over D; batch dimensions broadcast.

    >>> gaussian_log_prob(torch.zeros(1), torch.zeros(1), torch.ones(1))
    tensor(-0.9189)
    """
    terms = ((x - mean) / std).square() + 2 * std.log() + LOG_2PI
    return -0.5 * terms.sum(-1)


def gaussian_entropy(std: Float[Tensor, "*b D"]) -> Float[Tensor, "*b"]:
    """Returns ½ Σ log(2πe σ²)."""
    return (std.log() + 0.5 * (LOG_2PI + 1)).sum(-1)


def gaussian_kl(
    mean_q: Float[Tensor, "*#b D"],
    std_q: Float[Tensor, "*#b D"],
    mean_p: Float[Tensor, "*#b D"],
    std_p: Float[Tensor, "*#b D"],
) -> Float[Tensor, "*#b"]:
    """Returns KL(N_q ‖ N_p) of diagonal Gaussians; batch dimensions broadcast."""
    ratio = std_q / std_p
    shift = (mean_q - mean_p) / std_p
    return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)


def component_kls(
    mean_q: Float[Tensor, "*b D"],
    std_q: Float[Tensor, "*b D"],
    means: Float[Tensor, "*b K D"],
    stds: Float[Tensor, "*b K D"],
) -> Float[Tensor, "*b K"]:
    """Returns KL(q ‖ p_k) for each component."""
    return gaussian_kl(mean_q.unsqueeze(-2), std_q.unsqueeze(-2), means, stds)


def mixture_kl_bound(
    log_pi: Float[Tensor, "*b K"],
    kls: Float[Tensor, "*b K"],
    tau: float | Float[Tensor, ""] = 1.0,
) -> Float[Tensor, "*b"]:
    """Returns U_τ = −τ log Σ π_k exp(−KL_k / τ), an upper bound on KL(q ‖ mixture) for τ ≥ 1.

    Args:
        log_pi: Normalised log weights.
        kls: KL(q ‖ p_k), from `component_kls`.
        tau: Temperature. Large values average the KLs, so that no component starves early in
            training; 1 is the bound itself.

    >>> mixture_kl_bound(torch.tensor([0.5, 0.5]).log(), torch.tensor([2.0, 2.0]))
    tensor(2.)
    """
    return -tau * torch.logsumexp(log_pi - kls / tau, -1)


def mixture_kl_lower(
    q: DiagonalGaussian,
    log_pi: Float[Tensor, "*b K"],
    means: Float[Tensor, "*b K D"],
    stds: Float[Tensor, "*b K D"],
) -> Float[Tensor, "*b"]:
    """Returns L, Jensen's lower bound on KL(q ‖ mixture)."""
    spread = (stds.square() + q.std.unsqueeze(-2).square()).sqrt()
    overlap = gaussian_log_prob(q.mean.unsqueeze(-2), means, spread)
    return -q.entropy() - torch.logsumexp(log_pi + overlap, -1)


def mixture_log_prob(
    x: Float[Tensor, "*#b D"],
    log_pi: Float[Tensor, "*#b K"],
    means: Float[Tensor, "*#b K D"],
    stds: Float[Tensor, "*#b K D"],
) -> Float[Tensor, "*#b"]:
    """Returns log Σ π_k N(x; μ_k, σ_k²)."""
    return torch.logsumexp(log_pi + gaussian_log_prob(x.unsqueeze(-2), means, stds), -1)


def mixture_kl_mc(
    q: DiagonalGaussian,
    log_pi: Float[Tensor, "*b K"],
    means: Float[Tensor, "*b K D"],
    stds: Float[Tensor, "*b K D"],
    normal: Float[Tensor, "n *b D"],
) -> Float[Tensor, "*b"]:
    """Returns the Monte-Carlo estimate of KL(q ‖ mixture): unbiased, and sometimes negative.

    log q is evaluated at the samples, not replaced by −H[q]: the two logarithms then cancel
    sample by sample where q and the mixture agree.
    """
    z = torch.addcmul(q.mean, q.std, normal)
    return (q.log_prob(z) - mixture_log_prob(z, log_pi, means, stds)).mean(0)


def sample_mixture(
    log_pi: Float[Tensor, "*b K"],
    means: Float[Tensor, "*b K D"],
    stds: Float[Tensor, "*b K D"],
    normal: Float[Tensor, "*b D"],
    uniform: Float[Tensor, "*b"],
    temperature: float | Float[Tensor, ""] = 1.0,
) -> Float[Tensor, "*b D"]:
    """Samples a component by inverse CDF, then its Gaussian pathwise.

    The gradient runs through the mean and std of the chosen component, not through the choice.
    The temperature τ flattens the weights to π^{1/τ} and scales the std by √τ (Ha & Schmidhuber,
    2018); at 0 the result is the mean of the heaviest component, never the mixture mean.
    """
    if isinstance(temperature, Tensor):
        tempered = torch.log_softmax(log_pi / temperature.clamp_min(1e-6), -1)
        index = torch.where(temperature > 0, choose_component(tempered, uniform), log_pi.argmax(-1))
        normal = normal * temperature.sqrt()
    elif temperature == 0:
        return pick_component(means, log_pi.argmax(-1))
    elif temperature == 1:
        index = choose_component(log_pi, uniform)
    else:
        index = choose_component(torch.log_softmax(log_pi / temperature, -1), uniform)
        normal = normal * math.sqrt(temperature)
    return torch.addcmul(pick_component(means, index), pick_component(stds, index), normal)


def choose_component(
    log_pi: Float[Tensor, "*b K"], uniform: Float[Tensor, "*b"]
) -> Int[Tensor, "*b"]:
    """Returns the component whose slice of the cumulative weights holds ``uniform``."""
    cdf = log_pi.detach().exp().cumsum(-1)
    return (cdf[..., :-1] <= uniform.unsqueeze(-1)).sum(-1)


def pick_component(
    values: Float[Tensor, "*b K D"], index: Int[Tensor, "*b"]
) -> Float[Tensor, "*b D"]:
    """Returns row ``index`` of each ``[K, D]`` table."""
    wide = index[..., None, None].expand(*index.shape, 1, values.shape[-1])
    return values.gather(-2, wide).squeeze(-2)
