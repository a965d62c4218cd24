"""The optional adversarial task: discriminators judge what the decoder makes of a sequence.

    made   x̂ = decode(h, z, A^), centred, in the scale of the encoder's input, not clamped
    L_adversarial = w_G λ_G L_G(D(x̂)) + w_F λ_F L_F(φ(x̂), φ(x))

Off unless ``weights.generator`` or ``weights.feature_matching`` is above 0. With adaptive weights
λ gives each term the gradient norm of the reconstruction at x̂, so that w is a share of it; without
them λ = 1. Discriminators are frozen here, and z, where they read it, is stopped: the gradient
runs through x̂ alone. They learn elsewhere (`aime_agent.agents.adversary`), from stopped frames.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError
from aime_agent.functional.adversarial import (
    adaptive_weight,
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    with_gradient,
)
from aime_agent.layers.conv import unpatchify
from aime_agent.representation.discriminators import (
    ImageDiscriminator,
    ImageDiscriminatorConfig,
    TemporalDiscriminator,
    TemporalDiscriminatorConfig,
)

if TYPE_CHECKING:
    from aime_agent.world_model.losses import SequenceData
    from aime_agent.world_model.model import AimeWorldModel

TERM_NAMES = ("generator", "feature_matching")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Settings of the discriminators; the loss weights are in `LossWeights`."""

    image: bool = True
    """Judge single frames, patch by patch."""
    temporal: bool = True
    """Judge films, frame by frame."""
    adaptive: bool = True
    """Let weights be shares of the reconstruction's gradient."""
    adaptive_limit: float = 1e4
    """Largest factor by which that may raise a term."""
    ndf: int = 16
    """Channels of the image discriminator's first layer."""
    image_layers: int = 3
    """Its strided layers."""
    units: int = 64
    """Width of the temporal discriminator's tokens."""
    num_layers: int = 1
    """Its blocks over time (the original's ``img_disc_layers``)."""
    num_heads: int = 4
    patch_size: int = 16
    """Side of its patches."""
    max_sequence_length: int = 64
    """Longest window that it can judge."""
    use_latent: bool = False
    """Let it read z, stopped: is this a film of *this* latent?"""
    film_scale: float = 0.5
    """How much z may change a token."""

    def __post_init__(self) -> None:
        """Checks ranges; sizes are checked by the discriminators."""
        if not (self.image or self.temporal):
            raise ConfigError(
                "AdversarialConfig needs image or temporal, found neither. To turn the task off, "
                "set weights.generator and weights.feature_matching to 0"
            )
        if not self.adaptive_limit > 0:
            raise ConfigError(
                f"AdversarialConfig.adaptive_limit must be above 0, found {self.adaptive_limit}"
            )


class Judgement(NamedTuple):
    """What all discriminators say about B films."""

    logits: dict[str, Tensor]
    """By discriminator: ``image [B*T, h, w]``, ``temporal [B, T]``."""
    features: list[Tensor]
    """Hidden layers of all of them."""


class Discriminators(nn.Module):
    """Those that a configuration asks for.

    Args:
        config: Their settings.
        image_channels: Of the frames.
        image_size: Side of the frames.
        latent_dim: Width of z.
    """

    image: ImageDiscriminator | None
    temporal: TemporalDiscriminator | None

    def __init__(
        self, config: AdversarialConfig, image_channels: int, image_size: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.config = c = config
        self.image = self.temporal = None
        if c.image:
            self.image = ImageDiscriminator(
                ImageDiscriminatorConfig(
                    input_channels=image_channels, ndf=c.ndf, n_layers=c.image_layers
                )
            )
        if c.temporal:
            self.temporal = TemporalDiscriminator(
                TemporalDiscriminatorConfig(
                    input_channels=image_channels,
                    image_size=image_size,
                    hidden_dim=c.units,
                    n_layers=c.num_layers,
                    n_heads=c.num_heads,
                    max_sequence_length=c.max_sequence_length,
                    patch_size=c.patch_size,
                    z_dim=latent_dim if c.use_latent else 0,
                    film_scale=c.film_scale,
                )
            )

    def forward(
        self,
        films: Float[Tensor, "B T C H W"],
        z: Float[Tensor, "B T z"],
        is_first: Bool[Tensor, "B T"],
    ) -> Judgement:
        """Judges films; z is read, and stopped, only with ``use_latent``."""
        logits, features = {}, []
        if self.image is not None:
            frames = self.image.infer(films.flatten(0, 1))
            logits["image"] = frames.logits
            features += frames.features
        if self.temporal is not None:
            known = z.detach() if self.config.use_latent else None
            judged = self.temporal.infer(films, known, is_first)
            logits["temporal"] = judged.logits
            features += judged.features
        return Judgement(logits, features)


class Films(NamedTuple):
    """Real and made frames of one batch, as discriminators see them."""

    real: Float[Tensor, "B T C H W"]
    made: Float[Tensor, "B T C H W"]
    z: Float[Tensor, "B T z"]
    is_first: Bool[Tensor, "B T"]


def make_discriminators(model: "AimeWorldModel") -> Discriminators | None:
    """Builds discriminators for a model; None where the adversarial task is off."""
    c = model.config
    if not c.adversarial_on:
        return None
    made = Discriminators(c.adversarial_config(), c.image_channels, c.image_size, c.latent_dim)
    return made.to(model.pixels.mean)


def films(
    model: "AimeWorldModel", data: "SequenceData", patches: Tensor, z: Float[Tensor, "B T z"]
) -> Films:
    """Unfolds decoded patches beside the true frames, both centred and scaled alike."""
    c, shape = model.config, data.observations.shape[:2]
    real = model.pixels.encoder_input(data.observations.flatten(0, 1))
    made = model.pixels.gain * unpatchify(patches, c.patch, (c.image_size, c.image_size))
    return Films(torch.unflatten(real, 0, shape), torch.unflatten(made, 0, shape), z, data.is_first)


def adversarial_terms(
    model: "AimeWorldModel",
    discriminators: Discriminators,
    data: "SequenceData",
    patches: Tensor,
    z: Float[Tensor, "B T z"],
    reconstruction: Float[Tensor, ""],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the task's terms, times their λ, and metrics; no gradient reaches a discriminator.

    Args:
        model: The world model.
        discriminators: Who judges.
        data: The sequence.
        patches: What the decoder made of it, with its graph.
        z: Latents.
        reconstruction: Mean reconstruction error, made from ``patches``.
    """
    c = model.config
    seen = films(model, data, patches, z)
    with frozen(discriminators):
        fake = discriminators(seen.made, z, seen.is_first)
        with torch.no_grad():
            real = discriminators(seen.real, z, seen.is_first)
    losses = {
        "generator": torch.stack([hinge_generator_loss(x) for x in fake.logits.values()]).mean(),
        "feature_matching": feature_matching_loss(real.features, fake.features),
    }
    terms, metrics = {}, {}
    (target,) = torch.autograd.grad(reconstruction, patches, retain_graph=True)
    for name in TERM_NAMES:
        metrics[f"adversarial/{name}"] = losses[name].detach()
        if not getattr(c.weights, name):
            continue
        # Only the way through x̂ is differentiated, and only once however many tasks follow.
        (gradient,) = torch.autograd.grad(losses[name], patches, retain_graph=True)
        scale = losses[name].new_ones(())
        if discriminators.config.adaptive:
            scale = adaptive_weight(target, gradient, discriminators.config.adaptive_limit)
            metrics[f"adversarial/scale_{name}"] = scale
        terms[name] = with_gradient(scale * losses[name], patches, scale * gradient)
    return terms, metrics


def discriminator_loss(
    discriminators: Discriminators, seen: Films
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Returns the hinge loss, averaged over discriminators, and metrics; made frames are stopped."""
    real = discriminators(seen.real.detach(), seen.z, seen.is_first).logits
    fake = discriminators(seen.made.detach(), seen.z, seen.is_first).logits
    losses = [hinge_discriminator_loss(real[name], fake[name]) for name in real]
    loss = torch.stack(losses).mean()
    metrics = {"adversarial/disc_loss": loss.detach()}
    for name in real:
        metrics[f"adversarial/{name}_real_logit"] = real[name].detach().mean()
        metrics[f"adversarial/{name}_fake_logit"] = fake[name].detach().mean()
    return loss, metrics


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Runs a block with a module in eval mode whose parameters take no gradient."""
    training = module.training
    free = [p for p in module.parameters() if p.requires_grad]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
        module.train(training)
