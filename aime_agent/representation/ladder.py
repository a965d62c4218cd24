"""A second level of latents under the mixture's (the seeds' ``hierarchy``; after Sønderby et al., 2016).

    z = [z₁, z₂],    p(z | h) = Σ_k π_k N(z₁; μ_k, σ_k²) · N(z₂; f(h, z₁))
    q(z | o, h) = q(z₁ | …) · N(z₂; g(u, z₁)),     u: hidden layer of q(z₁ | …)

    U = U(q(z₁) ‖ mixture) + E_{q(z₁)} KL(q(z₂) ‖ p(z₂ | h, z₁))

Given a drawn z₁ all components have the same second half, so U of the widened mixture *is* that sum,
and every function of `MixturePrior` serves both levels. The posterior is not written relative to the
prior (as in Vahdat & Kautz, 2020): a balanced KL moves the prior toward the posterior, and a
posterior that moves with its prior would run away from it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.functional.gaussian import DiagonalGaussian
from aime_agent.layers.mlp import MLP
from aime_agent.representation.mixture import MixturePrior
from aime_agent.representation.vae_encoder import bounded_gaussian


class LatentLadder(nn.Module):
    """Prior and posterior of z₂.

    Args:
        top_dim: Width of z₁.
        deep_dim: Width of z₂.
        hidden_dim: Width of h.
        units: Width of u, and of both hidden layers.
        min_std: Floor of the standard deviations, as in the first level.
    """

    def __init__(
        self, top_dim: int, deep_dim: int, hidden_dim: int, units: int, min_std: float
    ) -> None:
        super().__init__()
        self.top_dim, self.min_std = top_dim, min_std
        self.to_prior = MLP(hidden_dim + top_dim, units, out_features=2 * deep_dim)
        self.to_posterior = MLP(units + top_dim, units, out_features=2 * deep_dim)

    def prior(self, hidden: Float[Tensor, "*b H"], top: Float[Tensor, "*b D1"]) -> DiagonalGaussian:
        """Returns p(z₂ | h, z₁)."""
        mean, raw = self.to_prior(torch.cat([hidden, top], dim=-1)).chunk(2, -1)
        return DiagonalGaussian(mean, F.softplus(raw) + self.min_std)

    def posterior(
        self, seen: Float[Tensor, "*b U"], top: Float[Tensor, "*b D1"]
    ) -> DiagonalGaussian:
        """Returns q(z₂ | o, h, z₁) from what the first level's posterior saw."""
        return bounded_gaussian(self.to_posterior(torch.cat([seen, top], dim=-1)), self.min_std)

    def widen(
        self, mixture: MixturePrior, hidden: Float[Tensor, "*b H"], z: Float[Tensor, "*b D"]
    ) -> MixturePrior:
        """Returns the mixture over [z₁, z₂] whose second half is the prior at the z₁ in ``z``."""
        deep = self.prior(hidden, z[..., : self.top_dim])
        mean, std = (
            x.unsqueeze(-2).expand(*mixture.means.shape[:-1], -1) for x in (deep.mean, deep.std)
        )
        return mixture._replace(
            means=torch.cat([mixture.means, mean], dim=-1),
            stds=torch.cat([mixture.stds, std], dim=-1),
        )

    def extend(
        self,
        top: Float[Tensor, "*b D1"],
        hidden: Float[Tensor, "*b H"],
        normal: Float[Tensor, "*b D2"],
        temperature: float | Float[Tensor, ""] = 1.0,
    ) -> Float[Tensor, "*b D"]:
        """Returns [z₁, z₂] with z₂ drawn from its prior.

        Args:
            top: z₁.
            hidden: h.
            normal: Noise of z₂.
            temperature: Scales the noise's variance, as in the mixture; 0 is the mean.
        """
        deep = self.prior(hidden, top)
        return torch.cat([top, deep.mean + temperature**0.5 * deep.std * normal], dim=-1)
