"""PILLAR 2: the posterior over z, and its Dirichlet-process mixture prior.

``distributions``   `KumaraswamyStable`, `GammaPosterior`
``stick_breaking``  `AdaptiveStickBreaking`, h → mixture weights
``mixture``         `MixturePrior`, the prior as numbers; its regulariser and metrics
``dpgmm_prior``     `DPGMMPrior`, [h, context] → `MixturePrior`
``vae_encoder``     `VAEEncoder`, the posterior
``vae_decoder``     `VAEDecoder`, [h, z] → image
``modulation``      attention maps as gains of feature maps
``discriminators``  is a frame, is a film, real or made?
"""

from aime_agent.representation.discriminators import (
    ImageDiscriminator,
    ImageDiscriminatorConfig,
    TemporalDiscriminator,
    TemporalDiscriminatorConfig,
)
from aime_agent.representation.distributions import (
    GammaPosterior,
    GammaPosteriorConfig,
    KumaraswamyStable,
)
from aime_agent.representation.dpgmm_prior import DPGMMOutput, DPGMMPrior, DPGMMPriorConfig
from aime_agent.representation.mixture import (
    MixtureMetrics,
    MixturePrior,
    mixture_metrics,
    mixture_regulariser,
    usage_gap,
)
from aime_agent.representation.stick_breaking import (
    AdaptiveStickBreaking,
    AdaptiveStickBreakingConfig,
)
from aime_agent.representation.vae_decoder import VAEDecoder, VAEDecoderConfig
from aime_agent.representation.vae_encoder import EncoderOutput, VAEEncoder, VAEEncoderConfig

__all__ = [
    "AdaptiveStickBreaking",
    "AdaptiveStickBreakingConfig",
    "DPGMMOutput",
    "DPGMMPrior",
    "DPGMMPriorConfig",
    "EncoderOutput",
    "GammaPosterior",
    "GammaPosteriorConfig",
    "ImageDiscriminator",
    "ImageDiscriminatorConfig",
    "KumaraswamyStable",
    "MixtureMetrics",
    "MixturePrior",
    "TemporalDiscriminator",
    "TemporalDiscriminatorConfig",
    "VAEDecoder",
    "VAEDecoderConfig",
    "VAEEncoder",
    "VAEEncoderConfig",
    "mixture_metrics",
    "mixture_regulariser",
    "usage_gap",
]
