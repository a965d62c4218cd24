"""The network that breaks the stick: h → Kumaraswamy sticks → mixture weights.

    v_k ~ Kumaraswamy(a_k(h), b_k(h)),   π_k = v_k ∏_{j<k} (1 − v_j)

At the start a = 1 and b_k = K − k for every h, so that E[π] is exactly uniform; with a = b = 1 the
fifteenth component would get 6e-5. J = K − 1 sticks.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional.kumaraswamy import kl_to_stick_prior, log_stick
from aime_agent.functional.stick_breaking import (
    gamma_kl,
    gamma_moments,
    log_weights,
    truncate_weights,
)
from aime_agent.layers.mlp import MLP, zero_output
from aime_agent.representation.distributions import GammaPosterior

# Soft limits of log a and log b: beyond them nothing changes but the gradients' noise.
LOG_LOW, LOG_HIGH = -4.0, 5.0
_MIDDLE, _HALF = (LOG_HIGH + LOG_LOW) / 2, (LOG_HIGH - LOG_LOW) / 2
MAX_COMPONENTS = 128


class LogConcentrations(NamedTuple):
    """Parameters of the sticks."""

    log_a: Float[Tensor, "*b J"]
    log_b: Float[Tensor, "*b J"]


class StickInfo(TypedDict):
    """What `AdaptiveStickBreaking` returns beside the weights."""

    kumar_a: Float[Tensor, "B J"]
    kumar_b: Float[Tensor, "B J"]
    v: Float[Tensor, "B n J"]
    """The drawn sticks, in the order of ``perm``."""
    perm: Int[Tensor, "J"]
    active_components: Int[Tensor, "B"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveStickBreakingConfig:
    """Settings of `AdaptiveStickBreaking`."""

    max_components: int = 15
    hidden_dim: int = 768
    """Width of the input."""
    device: str | torch.device | None = None
    """Accepted and ignored: move the module instead."""
    prior_alpha: float = 1.0
    """Shape of the Gamma hyper-prior over the concentration."""
    prior_beta: float = 1.0
    """Its rate."""
    units: int = 192

    def __post_init__(self) -> None:
        """Checks ranges."""
        check_components("AdaptiveStickBreaking", self.max_components)
        check_hyper_prior("AdaptiveStickBreaking", self.prior_alpha, self.prior_beta)


class AdaptiveStickBreaking(nn.Module):
    """Samples mixture weights whose sticks and concentration depend on h."""

    hyper_prior: Float[Tensor, "2"]

    def __init__(self, config: AdaptiveStickBreakingConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or AdaptiveStickBreakingConfig(), **overrides)
        self.net = MLP(c.hidden_dim, c.units, out_features=2 * (c.max_components - 1))
        zero_output(self.net)
        bias = self.net.layers[-1].get_parameter("bias")
        bias.data.copy_(uniform_start(c.max_components))
        self.concentration = GammaPosterior(
            hidden_dim=c.hidden_dim,
            initial_concentration=c.prior_alpha,
            initial_rate=c.prior_beta,
        )
        self.register_buffer("hyper_prior", torch.tensor([c.prior_alpha, c.prior_beta]))

    def parameters_of(self, h: Float[Tensor, "B F"]) -> LogConcentrations:
        """Returns log a and log b."""
        return bound_concentrations(self.net(h))

    def forward(
        self,
        h: Float[Tensor, "B F"],
        n_samples: int = 10,
        use_rand_perm: bool = False,
        truncation_threshold: float = 0.995,
        exponential: Float[Tensor, "B n J"] | None = None,
    ) -> tuple[Float[Tensor, "B K"], StickInfo]:
        """Returns the average of ``n_samples`` drawn weight vectors, truncated, and what made it.

        Args:
            h: Features.
            n_samples: Number of draws to average.
            use_rand_perm: Break the sticks in a random order (Stirn et al., 2019), which removes
                the bias towards early components, and with it the meaning of the order.
            truncation_threshold: Mass after which the lightest components are dropped; 1 keeps all.
            exponential: Exp(1) noise; drawn if absent.
        """
        log_a, log_b = self.parameters_of(h)
        sticks = log_a.shape[-1]
        perm = torch.randperm(sticks) if use_rand_perm else torch.arange(sticks)
        perm = perm.to(h.device)
        if exponential is None:
            shape = (h.shape[0], n_samples, sticks)
            exponential = torch.empty(shape, dtype=h.dtype, device=h.device).exponential_()
        drawn = log_stick(log_a[:, None, perm], log_b[:, None, perm], exponential)
        pi = log_weights(*drawn).exp().mean(1)
        back = torch.cat((perm.argsort(), perm.new_tensor([sticks])))
        cut = truncate_weights(pi[:, back], truncation_threshold)
        info = StickInfo(
            kumar_a=log_a.exp(),
            kumar_b=log_b.exp(),
            v=drawn.log_v.exp(),
            perm=perm,
            active_components=cut.active_components,
        )
        return cut.pi, info

    def kl_divergence(self, h: Float[Tensor, "B F"]) -> Float[Tensor, "B"]:
        """Returns the mean stick KL, α integrated out, plus the KL of the concentration."""
        shape, rate = self.concentration(h)
        moments = gamma_moments(shape, rate)
        sticks = kl_to_stick_prior(*self.parameters_of(h), moments.mean, moments.mean_log)
        concentration = gamma_kl(shape, rate, self.hyper_prior[0], self.hyper_prior[1])
        return sticks.sum(-1) / max(sticks.shape[-1], 1) + concentration


def bound_concentrations(raw: Float[Tensor, "*b J2"]) -> LogConcentrations:
    """Splits a network's output into log a and log b, softly held in [−4, 5]."""
    log_a, log_b = (_MIDDLE + _HALF * torch.tanh(raw / _HALF)).chunk(2, -1)
    return LogConcentrations(log_a, log_b)


def uniform_start(num_components: int) -> Float[Tensor, "J2"]:
    """Returns the output for which a = 1, b_k = K − k, and hence E[π_k] = 1/K."""
    log_a = [0.0] * (num_components - 1)
    log_b = [math.log(num_components - k) for k in range(1, num_components)]
    return torch.tensor([_HALF * math.atanh((x - _MIDDLE) / _HALF) for x in log_a + log_b])


def check_components(owner: str, max_components: int) -> None:
    """Raises unless the number of components can start uniform within the soft limits."""
    if not 1 <= max_components <= MAX_COMPONENTS:
        raise ConfigError(
            f"{owner}.max_components must be 1 to {MAX_COMPONENTS}, found {max_components}"
        )


def check_hyper_prior(owner: str, prior_alpha: float, prior_beta: float) -> None:
    """Raises unless Γ(prior_alpha, prior_beta) is a distribution."""
    if prior_alpha <= 0 or prior_beta <= 0:
        raise ConfigError(
            f"{owner}.prior_alpha and prior_beta must be positive, found {prior_alpha}, {prior_beta}"
        )
