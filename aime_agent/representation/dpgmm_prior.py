"""The prior over z: a Dirichlet-process Gaussian mixture that depends on [h, context^].

    p(z | h) = Σ_k E[π_k](h) N(z; μ_k(h), diag σ_k²(h))

The weights are the closed-form means of the stick-breaking weights, in training as in a dream (or
one draw, if the caller passes noise). One trunk, one linear map for all outputs: this runs once per
imagined step. K components, D latent, J = K − 1 sticks, F input.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional import gaussian
from aime_agent.functional.kumaraswamy import kl_to_stick_prior, log_mean, log_stick
from aime_agent.functional.stick_breaking import (
    effective_components,
    gamma_kl,
    log_weights,
    mean_log_weights,
    mix_uniform,
    truncate_weights,
)
from aime_agent.layers.mlp import MLP
from aime_agent.representation.distributions import inverse_softplus, sample_gamma
from aime_agent.representation.mixture import MixturePrior, mixture_regulariser
from aime_agent.representation.stick_breaking import (
    bound_concentrations,
    check_components,
    check_hyper_prior,
    uniform_start,
)
from aime_agent.shapes import validate_shape

__all__ = ["DPGMMOutput", "DPGMMPrior", "DPGMMPriorConfig", "MixturePrior"]

GAMMA_FLOOR = 1e-4
REMEDY = "The prior reads hidden and context: pass torch.cat([hidden, context], dim=-1)"


@dataclass(frozen=True, kw_only=True)
class DPGMMPriorConfig:
    """Settings of `DPGMMPrior`."""

    max_components: int = 15
    """K; 1 makes the prior a plain Gaussian (the control arm)."""
    latent_dim: int = 36
    hidden_dim: int = 768
    """Width of the input: hidden plus context."""
    device: str | torch.device | None = None
    """Accepted and ignored: move the module instead."""
    prior_alpha: float = 1.0
    """Shape of the Gamma hyper-prior over the concentration (a buffer, not learned)."""
    prior_beta: float = 1.0
    """Its rate."""
    num_features: int = 192
    """Width of the shared trunk."""
    uniform_mix: float = 0.01
    """Share of uniform weights mixed in, so that no component loses its gradient."""
    min_std: float = 0.1
    """Floor of the components' standard deviation, which starts at 1."""
    spread: float = 1.0
    """Standard deviation of the components' means at the start."""
    sticks: str = "mean"
    """``"mean"``: ``forward`` uses E[π]; ``"sampled"``: it draws the sticks."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        check_components("DPGMMPrior", self.max_components)
        check_hyper_prior("DPGMMPrior", self.prior_alpha, self.prior_beta)
        if not 0 <= self.uniform_mix < 1:
            raise ConfigError(f"DPGMMPrior.uniform_mix must be in [0, 1), found {self.uniform_mix}")
        if not 0 < self.min_std < 1:
            raise ConfigError(f"DPGMMPrior.min_std must be in (0, 1), found {self.min_std}")
        if self.sticks not in ("mean", "sampled"):
            raise ConfigError(
                f"DPGMMPrior.sticks must be 'mean' or 'sampled', found {self.sticks!r}"
            )


class DPGMMOutput:
    """Result of `DPGMMPrior.forward`: the seeds' dictionary and pair in one.

    ``out["pi"]`` reads a key of ``out.params``; ``distribution, params = out`` unpacks;
    ``out.prior`` is the `MixturePrior` and ``out.mixture()`` the torch distribution.
    """

    def __init__(self, prior: MixturePrior, params: dict[str, Tensor]) -> None:
        self.prior, self.params = prior, params

    def mixture(self) -> MixtureSameFamily:
        """Returns p(z | h) as a torch distribution."""
        return self.prior.mixture()

    def __getitem__(self, key: str) -> Tensor:
        return self.params[key]

    def __contains__(self, key: object) -> bool:
        return key in self.params

    def __iter__(self) -> Iterator[Any]:
        return iter((self.mixture(), self.params))

    def keys(self) -> list[str]:
        """Returns the names of the parameters."""
        return list(self.params)


class DPGMMPrior(nn.Module):
    """p(z | h) with `infer` for the library and `forward` for the seeds' calls."""

    hyper_prior: Float[Tensor, "2"]

    def __init__(self, config: DPGMMPriorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or DPGMMPriorConfig(), **overrides)
        table = c.max_components * c.latent_dim
        self._sizes = [table, table, 2 * (c.max_components - 1), 2]
        self.trunk = MLP(c.hidden_dim, c.num_features)
        self.output = nn.Linear(c.num_features, sum(self._sizes))
        self.register_buffer("hyper_prior", torch.tensor([c.prior_alpha, c.prior_beta]))
        self._start()

    def infer(
        self, h: Float[Tensor, "*b F"], exponential: Float[Tensor, "*b J"] | None = None
    ) -> MixturePrior:
        """Returns the mixture at ``h``; with Exp(1) noise the weights are drawn, not averaged."""
        c = self.config
        validate_shape(h, (*[-1] * (h.ndim - 1), c.hidden_dim), "h", REMEDY)
        raw = torch.split(self.output(self.trunk(h)), self._sizes, dim=-1)
        grid = (*h.shape[:-1], c.max_components, c.latent_dim)
        log_a, log_b = bound_concentrations(raw[2])
        if exponential is None:
            log_pi = mean_log_weights(log_a, log_b)
        else:
            log_pi = log_weights(*log_stick(log_a, log_b, exponential))
        stds = F.softplus(raw[1]).add(c.min_std).view(grid)
        shape, rate = (F.softplus(raw[3]) + GAMMA_FLOOR).unbind(-1)
        log_pi = mix_uniform(log_pi, c.uniform_mix)
        return MixturePrior(log_pi, raw[0].view(grid), stds, log_a, log_b, shape, rate)

    def regulariser(self, prior: MixturePrior) -> Float[Tensor, "*b"]:
        """Returns the mean stick KL, α integrated out, plus the KL of the concentration."""
        return mixture_regulariser(prior, self.hyper_prior[0], self.hyper_prior[1])

    def forward(self, h: Float[Tensor, "B F"], n_samples: int = 10) -> DPGMMOutput:
        """Returns the mixture under the seeds' names.

        Args:
            h: ``[hidden, context]``.
            n_samples: Number of samples of the concentration in ``alpha [B, n]``.
        """
        sticks = self.config.max_components - 1
        noise = None
        if self.config.sticks == "sampled":
            noise = torch.empty(h.shape[0], sticks, dtype=h.dtype, device=h.device).exponential_()
        prior = self.infer(h, noise)
        pi = prior.log_pi.exp()
        if noise is None:
            log_v = log_mean(prior.log_a, prior.log_b)
        else:
            log_v = log_stick(prior.log_a, prior.log_b, noise).log_v
        params = {
            "pi": pi,
            "alpha": sample_gamma(prior.gamma_shape, prior.gamma_rate, n_samples),
            "means": prior.means,
            "log_vars": 2 * prior.stds.log(),
            "kumar_a": prior.log_a.exp(),
            "kumar_b": prior.log_b.exp(),
            "v": log_v.exp(),
            "perm": torch.arange(sticks, device=h.device),
            "active_components": truncate_weights(pi, 0.995).active_components,
        }
        return DPGMMOutput(prior, params)

    def compute_kl_divergence_mc(
        self,
        mu_q: Float[Tensor, "B D"],
        logvar_q: Float[Tensor, "B D"],
        params: DPGMMOutput,
        n_samples: int = 10,
    ) -> Float[Tensor, ""]:
        """Returns the batch mean of a Monte-Carlo KL(q ‖ p): unbiased, at times negative."""
        normal = torch.randn(n_samples, *mu_q.shape, dtype=mu_q.dtype, device=mu_q.device)
        return params.prior.kl_mc(mu_q, torch.exp(0.5 * logvar_q), normal).mean()

    def compute_kl_loss(
        self,
        params: DPGMMOutput,
        alpha: Float[Tensor, "B n"] | None = None,
        h: Float[Tensor, "B F"] | None = None,
    ) -> Float[Tensor, ""]:
        """Returns the batch mean of the hierarchical KL; it includes the concentration's.

        Args:
            params: Result of ``forward``.
            alpha: Samples of the concentration to average the stick KL over; without them α is
                integrated exactly.
            h: Features to take q(α | h) from; without them that of ``params`` is used.
        """
        prior = params.prior
        if h is not None:
            fresh = self.infer(h)
            prior = prior._replace(gamma_shape=fresh.gamma_shape, gamma_rate=fresh.gamma_rate)
        if alpha is None:
            return self.regulariser(prior).mean()
        sticks = kl_to_stick_prior(prior.log_a, prior.log_b, alpha.mean(1), alpha.log().mean(1))
        concentration = gamma_kl(prior.gamma_shape, prior.gamma_rate, *self.hyper_prior.unbind())
        return (sticks.sum(-1) / max(sticks.shape[-1], 1) + concentration).mean()

    def get_effective_components(
        self, pi: Float[Tensor, "*b K"], threshold: float = 1e-3
    ) -> Int[Tensor, "*b"]:
        """Returns how many components carry all but ``threshold`` of the mass."""
        return effective_components(pi, threshold)

    def compute_responsibilities(
        self, z: Float[Tensor, "B D"], params: DPGMMOutput
    ) -> Float[Tensor, "B K"]:
        """Returns p(k | z) ∝ π_k N(z; μ_k, σ_k²)."""
        prior = params.prior
        fit = gaussian.gaussian_log_prob(z.unsqueeze(-2), prior.means, prior.stds)
        return torch.softmax(prior.log_pi + fit, -1)

    def _start(self) -> None:
        """Uniform weights, unit stds, spread means centred on 0, and the hyper-prior, at every h."""
        c = self.config
        table = self._sizes[0]
        means = c.spread * torch.randn(c.max_components, c.latent_dim)
        stds = torch.full((table,), inverse_softplus(1.0 - c.min_std))
        gamma = [inverse_softplus(x - GAMMA_FLOOR) for x in (c.prior_alpha, c.prior_beta)]
        start = (
            (means - means.mean(0)).flatten(),
            stds,
            uniform_start(c.max_components),
            torch.tensor(gamma),
        )
        self.output.bias.data.copy_(torch.cat(start))
        self.output.weight.data[table:].zero_()
