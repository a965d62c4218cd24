"""The prior over z as numbers: a Gaussian mixture with the posterior of its sticks.

    p(z | h)  = Σ_k π_k N(z; μ_k, diag σ_k²)
    R(h)      = mean_k E_α KL(q(v_k) ‖ Beta(1, α)) + KL(q(α) ‖ Γ(A₀, B₀))

K components, D latent, J = K − 1 sticks.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from aime_agent import distributed
from aime_agent.functional import gaussian
from aime_agent.functional.gaussian import DiagonalGaussian
from aime_agent.functional.kumaraswamy import kl_to_stick_prior
from aime_agent.functional.stick_breaking import gamma_kl, gamma_moments


class MixturePrior(NamedTuple):
    """Parameters of p(z | h) and of the posteriors over its sticks and concentration."""

    log_pi: Float[Tensor, "*b K"]
    """Normalised log weights: closed-form means, or one draw."""
    means: Float[Tensor, "*b K D"]
    stds: Float[Tensor, "*b K D"]
    log_a: Float[Tensor, "*b J"]
    log_b: Float[Tensor, "*b J"]
    gamma_shape: Float[Tensor, "*b"]
    gamma_rate: Float[Tensor, "*b"]

    def mixture(self) -> MixtureSameFamily:
        """Returns the same distribution as a torch object."""
        weights = Categorical(logits=self.log_pi, validate_args=False)
        parts = Independent(Normal(self.means, self.stds, validate_args=False), 1)
        return MixtureSameFamily(weights, parts, validate_args=False)

    def sample(
        self,
        normal: Float[Tensor, "*b D"],
        uniform: Float[Tensor, "*b"],
        temperature: float | Float[Tensor, ""] = 1.0,
    ) -> Float[Tensor, "*b D"]:
        """Returns z; see `gaussian.sample_mixture`. At 0 it is the heaviest component's mean."""
        return gaussian.sample_mixture(
            self.log_pi, self.means, self.stds, normal, uniform, temperature
        )

    def log_prob(self, z: Float[Tensor, "*b D"]) -> Float[Tensor, "*b"]:
        """Returns log p(z | h)."""
        return gaussian.mixture_log_prob(z, self.log_pi, self.means, self.stds)

    def component_kls(
        self, mean_q: Float[Tensor, "*b D"], std_q: Float[Tensor, "*b D"]
    ) -> Float[Tensor, "*b K"]:
        """Returns KL(q ‖ p_k)."""
        return gaussian.component_kls(mean_q, std_q, self.means, self.stds)

    def kl_bound(
        self,
        mean_q: Float[Tensor, "*b D"],
        std_q: Float[Tensor, "*b D"],
        tau: float | Float[Tensor, ""] = 1.0,
    ) -> Float[Tensor, "*b"]:
        """Returns U_τ, the bound on KL(q ‖ p) that training uses."""
        return gaussian.mixture_kl_bound(self.log_pi, self.component_kls(mean_q, std_q), tau)

    def kl_mc(
        self,
        mean_q: Float[Tensor, "*b D"],
        std_q: Float[Tensor, "*b D"],
        normal: Float[Tensor, "n *b D"],
    ) -> Float[Tensor, "*b"]:
        """Returns the Monte-Carlo estimate of KL(q ‖ p), which may be negative."""
        q = DiagonalGaussian(mean_q, std_q)
        return gaussian.mixture_kl_mc(q, self.log_pi, self.means, self.stds, normal)

    def responsibilities(
        self, mean_q: Float[Tensor, "*b D"], std_q: Float[Tensor, "*b D"]
    ) -> Float[Tensor, "*b K"]:
        """Returns r_k ∝ π_k exp(−KL_k), the component posterior that makes U tight."""
        return torch.softmax(self.log_pi - self.component_kls(mean_q, std_q), -1)

    def moments(self) -> DiagonalGaussian:
        """Returns mean and standard deviation of z, per dimension."""
        pi = self.log_pi.exp().unsqueeze(-1)
        mean = (pi * self.means).sum(-2)
        scatter = self.stds.square() + (self.means - mean.unsqueeze(-2)).square()
        return DiagonalGaussian(mean, (pi * scatter).sum(-2).sqrt())

    def detach(self) -> "MixturePrior":
        """Returns the same numbers without a graph."""
        return MixturePrior(*(x.detach() for x in self))


def mixture_regulariser(
    prior: MixturePrior, prior_shape: Float[Tensor, ""], prior_rate: Float[Tensor, ""]
) -> Float[Tensor, "*b"]:
    """Returns R(h): the mean over sticks of their KL, plus the KL of the concentration.

    α is integrated exactly. Without sticks (K = 1) only the concentration's KL is left.
    """
    moments = gamma_moments(prior.gamma_shape, prior.gamma_rate)
    sticks = kl_to_stick_prior(prior.log_a, prior.log_b, moments.mean, moments.mean_log)
    concentration = gamma_kl(prior.gamma_shape, prior.gamma_rate, prior_shape, prior_rate)
    return sticks.sum(-1) / max(sticks.shape[-1], 1) + concentration


class MixtureMetrics(NamedTuple):
    """How much of the mixture is used; all scalars, in nats or counts."""

    effective_components: Float[Tensor, ""]
    """N_eff = exp H(mean r)."""
    weight_entropy: Float[Tensor, ""]
    """Mean H(π)."""
    mutual_information: Float[Tensor, ""]
    """H(mean r) − mean H(r): how much the component depends on the state."""
    dead_fraction: Float[Tensor, ""]
    """Share of components whose mean responsibility is below 1/(10 K)."""


def mixture_metrics(
    log_pi: Float[Tensor, "*b K"],
    responsibilities: Float[Tensor, "*b K"],
    include: Bool[Tensor, "*b"] | None = None,
) -> MixtureMetrics:
    """Summarises the use of components over a batch.

    Args:
        log_pi: Log weights.
        responsibilities: From `MixturePrior.responsibilities`.
        include: Which entries count; leave out the first frames of episodes.
    """
    r = responsibilities.detach().flatten(0, -2)
    log_pi = log_pi.detach().flatten(0, -2)
    count = r.new_ones(r.shape[0]) if include is None else include.flatten().to(r.dtype)
    share = count / count.sum().clamp_min(1)
    mean_r = share @ r
    total = _entropy(mean_r)
    return MixtureMetrics(
        total.exp(),
        share @ _entropy(log_pi.exp()),
        total - share @ _entropy(r),
        (mean_r < 1 / (10 * r.shape[-1])).to(r.dtype).mean(),
    )


def usage_gap(responsibilities: Float[Tensor, "*b K"]) -> Float[Tensor, ""]:
    """Returns log K − H(mean r), which is 0 when the batch uses all components alike."""
    mean_r = distributed.mean(responsibilities.flatten(0, -2).mean(0))
    return math.log(mean_r.shape[-1]) - _entropy(mean_r)


def _entropy(p: Tensor) -> Tensor:
    # entr(p) has an infinite slope at 0, and responsibilities do underflow to 0.
    return -(p * p.clamp_min(1e-12).log()).sum(-1)
