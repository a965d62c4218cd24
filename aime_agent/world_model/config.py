"""All settings of the world model; `presets` has the four sets of them.

Sizes that pillars share are stated once, here; the ``*_config`` methods hand each pillar its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from aime_agent.attention.attention_prior import AttentionPriorConfig
from aime_agent.attention.slot_decoder import SlotDecoderConfig
from aime_agent.attention.slot_filter import SlotFilterConfig
from aime_agent.configs import override
from aime_agent.dynamics.vrnn_core import VRNNCoreConfig
from aime_agent.errors import ConfigError, nearest
from aime_agent.layers.conv import grid_sizes
from aime_agent.optimization.balancer import RGB_FAMILY, BalancerName
from aime_agent.optimization.loss_aggregator import LossWeights
from aime_agent.perception.causal_perceiver import CausalPerceiverIOConfig
from aime_agent.representation.dpgmm_prior import DPGMMPriorConfig
from aime_agent.representation.vae_decoder import VAEDecoderConfig
from aime_agent.representation.vae_encoder import VAEEncoderConfig
from aime_agent.world_model.adversarial import AdversarialConfig
from aime_agent.world_model.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Settings of `AimeWorldModel`; the defaults are the seed documents' sizes.

    The five dictionaries at the end change single fields of a pillar's own configuration.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    image_size: int = 64
    """Side of the square frames in pixels, at least 32."""
    image_channels: int = 3
    action_dim: int = 6
    """A; comes from the environment (DMC humanoid has 21, walker 6)."""
    latent_dim: int = 36
    """Size of z."""
    hierarchy: int = 0
    """How many of z's coordinates are a second level below the mixture's: p(z₂ given h, z₁)."""
    action_in_prior: bool = False
    """Whether the prior reads a_{t-1} directly, beside h_t, which holds it."""
    hidden_dim: int = 512
    """Size of h."""
    context_dim: int = 256
    max_components: int = 15
    """K, mixture components of the prior; 1 is the Gaussian control arm."""
    context: Literal["predicted", "observed", "none"] = "predicted"
    """Perceiver context that the LSTM reads: always g(h, z); the seen one where there is a frame and
    g(h, z) in dreams; or none, and then no pillar 1 at all: nothing of it is built or computed."""
    use_attention: bool = True
    """Whether there are attention maps, and with them the glimpse and the decoder's gain."""
    use_slots: bool = True
    """Whether there are slots. Without them nothing is seen bottom-up: no glimpse, and the predicted
    map, if there is one, learns from the pixels alone."""
    multi_resolution: bool = False
    """Whether slots read the trunk's middle map beside its finest, whose cells know their own patch
    alone; a cell of the middle map sees four patches a side."""
    control_task: bool = False
    """Reward, continuation and consistency as a task of their own for the balancer; a plain sum
    does not tell the difference."""
    n_lstm_layers: int = 1
    use_orthogonal: bool = True
    num_slots: int = 4
    slot_dim: int = 64
    attention_resolution: int = 21
    """R, side of the attention maps."""
    base_channels: int = 64
    """Channels of trunk and decoder at 1/4 of the image; 1/8 and 1/16 have two and three times."""
    patch: int = 4
    """Side of the patches of the trunk's stem and of the decoder's head."""
    units: int = 256
    """Width of the posterior's and the prior's hidden layer."""
    head_units: int = 128
    """Width of the reward and continuation heads' hidden layer."""
    prior_alpha: float = 6.0
    """Shape of the Gamma hyper-prior over the concentration."""
    prior_beta: float = 2.0
    """Its rate."""
    min_std: float = 0.1
    """Floor of the standard deviation of posterior and prior alike."""
    uniform_mix: float = 0.0
    """Share of uniform mixture weights. Anything above 0 is drawn in dreams too: 0.01 puts one
    dream of 15 steps in eight on a component that no state uses."""
    free_nats: float = 1.0
    """Floor of the latent KL per frame."""
    representation_weight: float = 0.1
    """Weight of the posterior's side of the balanced KL."""
    attention_prior_weight: float = 0.8
    """Share of the balanced attention KL that teaches the prediction."""
    frame_energy: float = 1000.0
    """Nats per frame that the moving part of a frame is scaled to; 0 keeps unit variance."""
    likelihood: Literal["mse", "logistic"] = "mse"
    """``logistic``: a discretised logistic of 8-bit pixels with a learned scale per channel; then
    ``frame_energy`` weighs the auxiliary decoders alone."""
    attention_target: Literal["none", "change"] = "none"
    """What teaches the slots' map where to look: ``none`` of its own (it learns from what the
    glimpse tells the posterior), or ``change`` (`aime_agent.functional.saliency`)."""
    consistency_steps: int = 3
    """Open-loop steps of the consistency loss; 0 turns it off."""
    consistency_every: int = 8
    """Frames between two starts of the consistency loss."""
    disagreement_heads: int = 0
    """Bootstrapped heads whose variance says how little is known, see `dynamics.disagreement`; 0 or at
    least 2. They predict the context: without pillar 1 there are none."""
    token_every: int = 8
    """The tokenizer's decoder and the token predictor learn from every n-th frame."""
    slot_decoder_units: int = 64
    slot_every: int = 16
    """The slot decoder learns from every n-th frame."""
    slot_pixels: int = 256
    """Pixels per frame that the slot decoder learns from."""
    slot_motion: float = 0.0
    """Weigh the slot decoder's pixels by 1 + this × their relative change since the last frame."""
    use_rgb: bool = True
    """Balance the tasks' gradients by rotation; False sums them."""
    balancer: BalancerName | None = None
    """How the tasks' gradients are joined, see `optimization.balancer`; None leaves it to
    ``use_rgb``. Those after ``rgb`` need the extra ``torchjd``."""
    rgb: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `RGBConfig`."""
    weights: LossWeights = field(
        default_factory=lambda: LossWeights(token_reconstruction=0.1, slot_reconstruction=0.1)
    )
    """Inside the tasks; the auxiliary decoders share the pixels' precision and count a tenth."""
    perceiver: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `CausalPerceiverIOConfig`."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `VAEEncoderConfig`."""
    decoder: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `VAEDecoderConfig`."""
    slots: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `SlotFilterConfig`."""
    attention_prior: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `AttentionPriorConfig`."""
    adversarial: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `AdversarialConfig`. The task is on where ``weights.generator`` or
    ``weights.feature_matching`` is above 0."""
    gram_every: int = 8
    """The Gram loss, if ``weights.gram`` is above 0, is taken on every n-th frame."""

    def __post_init__(self) -> None:
        if self.context not in (known := ("predicted", "observed", "none")):
            raise ConfigError(
                f"WorldModelConfig.context must be one of {known}, found {self.context!r}"
            )
        check_ranges(self)
        if self.multi_resolution and not self.use_slots:
            raise ConfigError("WorldModelConfig.multi_resolution needs use_slots=True, found False")
        if self.hierarchy >= self.latent_dim:
            raise ConfigError(
                f"WorldModelConfig.hierarchy must leave z at least one of its {self.latent_dim} "
                f"coordinates for the mixture, found {self.hierarchy}"
            )
        if self.likelihood not in ("mse", "logistic"):
            raise ConfigError(
                "WorldModelConfig.likelihood must be 'mse' or 'logistic', "
                f"found {self.likelihood!r}"
            )
        self._check_adversarial()
        self._check_balancer()
        self._check_objects()

    def _check_objects(self) -> None:
        if self.attention_target not in ("none", "change"):
            raise ConfigError(
                "WorldModelConfig.attention_target must be 'none' or 'change', "
                f"found {self.attention_target!r}"
            )
        if self.attention_target != "none" and not (self.use_attention and self.use_slots):
            raise ConfigError(
                "WorldModelConfig.attention_target needs use_attention and use_slots, found "
                f"{self.use_attention} and {self.use_slots}"
            )

    def _check_adversarial(self) -> None:
        if self.adversarial and not self.adversarial_on:
            raise ConfigError(
                f"WorldModelConfig.adversarial has settings ({sorted(self.adversarial)}), but the "
                "task is off: set weights.generator or weights.feature_matching above 0"
            )

    def _check_balancer(self) -> None:
        if self.balancer is None:
            return
        known = get_args(BalancerName)
        if self.balancer not in known:
            hint = nearest(self.balancer, known)
            raise ConfigError(f"WorldModelConfig.balancer {self.balancer!r} is unknown. {hint}")
        if self.rgb and self.balancer not in RGB_FAMILY:
            raise ConfigError(
                f"WorldModelConfig.rgb must be empty with balancer {self.balancer!r}, which has "
                f"none of its settings, found {sorted(self.rgb)}"
            )

    @property
    def feature_dim(self) -> int:
        """Width of [h, z]."""
        return self.hidden_dim + self.latent_dim

    @property
    def top_dim(self) -> int:
        """Width of the latents that the mixture is over: all of z without a second level."""
        return self.latent_dim - self.hierarchy

    @property
    def adversarial_on(self) -> bool:
        """Whether discriminators are built and judge what the decoder makes."""
        return self.weights.generator > 0 or self.weights.feature_matching > 0

    @property
    def recurrent_context_dim(self) -> int:
        """Width of the context where it is read; 0 without pillar 1."""
        return 0 if self.context == "none" else self.context_dim

    @property
    def has_glimpse(self) -> bool:
        """Whether the posterior reads what slots and maps point at."""
        return self.use_attention and self.use_slots

    def perceiver_config(self) -> CausalPerceiverIOConfig:
        """Settings of pillar 1; it reads the trunk's middle map."""
        sides = grid_sizes((self.image_size, self.image_size), self.patch)
        return override(
            CausalPerceiverIOConfig(
                in_channels=self.image_channels,
                image_size=self.image_size,
                context_dim=self.context_dim,
                action_dim=self.action_dim,
                downsample=2 * self.patch,
                feature_channels=2 * self.base_channels,
                grid_size=sides.mid,
            ),
            **self.perceiver,
        )

    def encoder_config(self) -> VAEEncoderConfig:
        """Settings of the posterior; it reads the trunk's coarsest map."""
        return override(
            VAEEncoderConfig(
                latent_dim=self.top_dim,
                context_dim=self.recurrent_context_dim,
                image_channels=self.image_channels,
                base_channels=self.base_channels,
                image_size=self.image_size,
                hidden_dim=self.hidden_dim,
                glimpse_dim=self.slots_config().token_channels if self.has_glimpse else 0,
                units=self.units,
                min_std=self.min_std,
                patch=self.patch,
                trunk=False,
            ),
            **self.encoder,
        )

    def decoder_config(self) -> VAEDecoderConfig:
        """Settings of the decoder, which reads [h, z] and A^."""
        return override(
            VAEDecoderConfig(
                latent_dim=self.latent_dim,
                image_channels=self.image_channels,
                base_channels=self.base_channels,
                image_size=self.image_size,
                hidden_dim=self.hidden_dim,
                patch=self.patch,
                use_attention=self.use_attention,
            ),
            **self.decoder,
        )

    def prior_config(self) -> DPGMMPriorConfig:
        """Settings of pillar 2's mixture, which reads [h_t, context^_{t-1}], and a_{t-1} if told."""
        action = self.action_dim if self.action_in_prior else 0
        return DPGMMPriorConfig(
            max_components=self.max_components,
            latent_dim=self.top_dim,
            hidden_dim=self.hidden_dim + self.recurrent_context_dim + action,
            prior_alpha=self.prior_alpha,
            prior_beta=self.prior_beta,
            num_features=self.units,
            min_std=self.min_std,
            uniform_mix=self.uniform_mix,
        )

    def dynamics_config(self) -> VRNNCoreConfig:
        """Settings of pillar 3."""
        return VRNNCoreConfig(
            latent_dim=self.latent_dim,
            context_dim=self.recurrent_context_dim,
            action_dim=self.action_dim,
            hidden_dim=self.hidden_dim,
            n_lstm_layers=self.n_lstm_layers,
            use_orthogonal=self.use_orthogonal,
            units=self.head_units,
        )

    def slots_config(self) -> SlotFilterConfig:
        """Settings of pillar 4's slots, which read the trunk's finest map."""
        return override(
            SlotFilterConfig(
                num_slots=self.num_slots,
                slot_dim=self.slot_dim,
                attention_resolution=self.attention_resolution,
                feature_channels=self.base_channels,
                hidden_dim=self.hidden_dim,
                maps=self.use_attention,
                coarse_channels=2 * self.base_channels if self.multi_resolution else 0,
            ),
            **self.slots,
        )

    def attention_prior_config(self) -> AttentionPriorConfig:
        """Settings of pillar 4's prediction."""
        config = override(
            AttentionPriorConfig(
                attention_resolution=self.attention_resolution,
                hidden_dim=self.hidden_dim,
                latent_dim=self.latent_dim,
            ),
            **self.attention_prior,
        )
        if config.goal_dim:
            raise ConfigError(
                "WorldModelConfig.attention_prior: goal_dim must be 0, since no verb of the world "
                f"model carries a goal, found {config.goal_dim}. Use an AttentionPrior by itself"
            )
        return config

    def adversarial_config(self) -> AdversarialConfig:
        """Settings of the discriminators, as wide as the trunk."""
        width = self.base_channels
        sized = AdversarialConfig(ndf=width, units=4 * width, patch_size=4 * self.patch)
        return override(sized, **self.adversarial)

    def slot_decoder_config(self) -> SlotDecoderConfig:
        """Settings of the auxiliary slot decoder."""
        return SlotDecoderConfig(
            slot_dim=self.slot_dim, hidden_dim=self.slot_decoder_units, channels=self.image_channels
        )
