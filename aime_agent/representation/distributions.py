"""Kumaraswamy sticks as a torch distribution, and the posterior over the concentration.

`KumaraswamyStable` works in log space (`aime_agent.functional.kumaraswamy`). `GammaPosterior` is
q(α | h) = Γ(shape, rate) of the concentration α of the Dirichlet process.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Gamma, constraints
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional import kumaraswamy
from aime_agent.functional.kumaraswamy import LogStick
from aime_agent.functional.stick_breaking import gamma_kl
from aime_agent.layers.mlp import MLP, zero_output


class KumaraswamyStable(Distribution):
    """Kumaraswamy(a, b) on (0, 1), given by log a and log b.

    Args:
        log_concentration1: log a.
        log_concentration0: log b.
    """

    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, log_concentration1: Tensor, log_concentration0: Tensor) -> None:
        shape = (log_concentration1 + log_concentration0).shape
        self.log_a = log_concentration1.expand(shape)
        self.log_b = log_concentration0.expand(shape)
        super().__init__(shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Both parameters are free."""
        free: constraints.Constraint = constraints.real
        return {"log_a": free, "log_b": free}

    def rsample_log(
        self, sample_shape: tuple[int, ...] = (), exponential: Tensor | None = None
    ) -> LogStick:
        """Returns (log v, log(1 − v)); pass Exp(1) noise to fix the draw."""
        if exponential is None:
            shape = self._extended_shape(torch.Size(sample_shape))
            exponential = torch.empty(shape, dtype=self.log_a.dtype, device=self.log_a.device)
            exponential.exponential_()
        return kumaraswamy.log_stick(self.log_a, self.log_b, exponential)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Returns v, strictly inside (0, 1); use `rsample_log` where v may come close to 1."""
        eps = torch.finfo(self.log_a.dtype)
        return self.rsample_log(sample_shape).log_v.exp().clamp(eps.tiny, 1 - eps.eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log density at ``value``."""
        stick = LogStick(value.log(), torch.log1p(-value))
        return kumaraswamy.kumaraswamy_log_prob(stick, self.log_a, self.log_b)

    def cdf(self, value: Tensor) -> Tensor:
        """Returns 1 − (1 − v^a)^b."""
        tail = kumaraswamy.log1mexp(-self.log_a.exp() * value.log())
        return -torch.expm1(self.log_b.exp() * tail)

    @property
    def mean(self) -> Tensor:
        """E[v] = b B(1 + 1/a, b)."""
        return kumaraswamy.log_mean(self.log_a, self.log_b).exp()

    def entropy(self) -> Tensor:
        """Returns the differential entropy in nats."""
        return kumaraswamy.entropy(self.log_a, self.log_b)


class GammaParameters(NamedTuple):
    """Shape and rate of q(α | h)."""

    concentration: Float[Tensor, "*b"]
    rate: Float[Tensor, "*b"]


@dataclass(frozen=True, kw_only=True)
class GammaPosteriorConfig:
    """Settings of `GammaPosterior`."""

    hidden_dim: int = 768
    """Width of the input."""
    device: str | torch.device | None = None
    """Accepted and ignored: move the module instead."""
    eps: float = 1e-4
    """Lower bound of shape and rate."""
    units: int = 64
    initial_concentration: float = 1.0
    initial_rate: float = 1.0

    def __post_init__(self) -> None:
        """Checks that the start lies above the floor."""
        for name in ("initial_concentration", "initial_rate"):
            if getattr(self, name) <= self.eps:
                raise ConfigError(
                    f"GammaPosterior.{name} must exceed eps = {self.eps}, found {getattr(self, name)}"
                )
        if self.eps <= 0:
            raise ConfigError(f"GammaPosterior.eps must be positive, found {self.eps}")


class GammaPosterior(nn.Module):
    """q(α | h), the same Gamma for every h at the start."""

    def __init__(self, config: GammaPosteriorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or GammaPosteriorConfig(), **overrides)
        self.net = MLP(c.hidden_dim, c.units, out_features=2)
        zero_output(self.net)
        start = (c.initial_concentration - c.eps, c.initial_rate - c.eps)
        bias = self.net.layers[-1].get_parameter("bias")
        bias.data.copy_(bias.new_tensor([inverse_softplus(x) for x in start]))

    def forward(self, h: Float[Tensor, "B F"]) -> GammaParameters:
        """Returns (concentration, rate), each ``[B]``."""
        values = F.softplus(self.net(h)) + self.config.eps
        return GammaParameters(*values.unbind(-1))

    def sample(self, h: Float[Tensor, "B F"], n_samples: int = 1) -> Float[Tensor, "B n"]:
        """Returns pathwise samples of α."""
        concentration, rate = self(h)
        return sample_gamma(concentration, rate, n_samples)

    def kl_divergence(
        self, h: Float[Tensor, "B F"], prior_concentration: float, prior_rate: float
    ) -> Float[Tensor, ""]:
        """Returns the batch mean of KL(q(α | h) ‖ Γ(prior_concentration, prior_rate))."""
        concentration, rate = self(h)
        prior = concentration.new_tensor([prior_concentration, prior_rate])
        return gamma_kl(concentration, rate, prior[0], prior[1]).mean()


def sample_gamma(
    concentration: Float[Tensor, "B"], rate: Float[Tensor, "B"], n_samples: int
) -> Float[Tensor, "B n"]:
    """Returns pathwise samples of Γ(concentration, rate)."""
    drawn: Tensor = Gamma(concentration, rate, validate_args=False).rsample((n_samples,))
    return drawn.mT


def inverse_softplus(x: float) -> float:
    """Returns log(e^x − 1).

    >>> round(inverse_softplus(0.6931472), 5)
    0.0
    """
    return x + math.log(-math.expm1(-x))
