"""The decoder p(o | z, h, A): features [h, z] to an image, weighted by attention.

    features → low grid → (gain) middle grid → (gain) fine grid → patches

The two gains are 1 + γ (Ā − 1) with learned strengths γ that start at 0 (see ``modulation``). There
are no skips from the encoder. The output is raw: no squashing, no mean image. Training compares it
in patch space; only callers who want to look at it unfold the patches.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.conv import ConvHead, unpatchify
from aime_agent.representation.modulation import attention_gain
from aime_agent.shapes import validate_shape


@dataclass(frozen=True, kw_only=True)
class VAEDecoderConfig:
    """Settings of `VAEDecoder`."""

    latent_dim: int = 36
    image_channels: int = 3
    base_channels: int = 32
    """Channels of the finest map; the others have two and three times as many."""
    image_size: int = 64
    hidden_dim: int = 0
    """Width of h, which stands before z in the features; 0 if the decoder reads z alone."""
    patch: int = 4
    use_attention: bool = True
    """Whether attention maps weight the features; without it, passing one is an error."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        for name in ("latent_dim", "image_channels", "base_channels", "patch"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"VAEDecoder.{name} must be at least 1, found {getattr(self, name)}"
                )
        if self.image_size < 32:
            raise ConfigError(f"VAEDecoder.image_size must be at least 32, found {self.image_size}")


class VAEDecoder(nn.Module):
    """Features [h, z] to images: `patches` for training, `forward` for the seeds' call."""

    def __init__(self, config: VAEDecoderConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or VAEDecoderConfig(), **overrides)
        channels = (c.base_channels, 2 * c.base_channels, 3 * c.base_channels)
        size = (c.image_size, c.image_size)
        self.head = ConvHead(c.hidden_dim + c.latent_dim, c.image_channels, channels, c.patch, size)
        self.strength = nn.Parameter(torch.zeros(2)) if c.use_attention else None

    def patches(
        self,
        features: Float[Tensor, "N F"],
        attention_map: Float[Tensor, "N R1 R2"] | None = None,
    ) -> Float[Tensor, "N P H0 W0"]:
        """Returns the image folded into patches; attention maps of any size are resized."""
        if attention_map is None:
            return self.head(features)
        if self.strength is None:
            raise ConfigError("VAEDecoder got an attention_map: build it with use_attention=True")
        sizes = self.head.sizes
        mid = attention_gain(attention_map, self.strength[0], sizes.mid)
        return self.head(
            features, (mid, attention_gain(attention_map, self.strength[1], sizes.high))
        )

    def forward(
        self,
        z: Float[Tensor, "B D"],
        attention_map: Float[Tensor, "B R1 R2"] | None = None,
        hidden: Float[Tensor, "B H2"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Returns images.

        Args:
            z: Latent.
            attention_map: Where the picture matters; any size.
            hidden: h, if ``hidden_dim`` is set.
        """
        c = self.config
        validate_shape(z, (-1, c.latent_dim), "z")
        if hidden is not None:
            remedy = f"Build the decoder with hidden_dim={hidden.shape[-1]}"
            validate_shape(hidden, (z.shape[0], c.hidden_dim), "hidden", remedy)
            z = torch.cat((hidden, z), -1)
        elif c.hidden_dim:
            raise ShapeError(f"hidden: [B, {c.hidden_dim}] required, found none")
        side = c.image_size
        return unpatchify(self.patches(z, attention_map), c.patch, (side, side))
