"""The posterior q(z | o, context, h, glimpse).

    pre   = W_e silu(LN(W_f low)) + W_c context          once over all frames
    q     = N(μ, σ²) from silu(LN(pre + W_r [h, glimpse]))   at each step
    log σ = m + h tanh(x / 2h + c),   which stays in [log σ_min, 1] and starts at 0

D latent, C context or channels, U units.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aime_agent.configs import override
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.gaussian import DiagonalGaussian, reparameterise
from aime_agent.layers.conv import ConvTrunk, grid_sizes
from aime_agent.representation.modulation import attention_gain
from aime_agent.shapes import validate_shape

LARGEST_LOG_STD = 1.0


class EncoderOutput(NamedTuple):
    """Posterior under all the names the seeds use; ``out["mu"]`` and ``out.mu`` both work."""

    mean: Float[Tensor, "B D"]
    logvar: Float[Tensor, "B D"]
    sample: Float[Tensor, "B D"]
    """A draw in training, the mean in evaluation."""

    @property
    def mu(self) -> Float[Tensor, "B D"]:
        """The mean."""
        return self.mean

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return getattr(self, key)
        return tuple(self)[key]


@dataclass(frozen=True, kw_only=True)
class VAEEncoderConfig:
    """Settings of `VAEEncoder`."""

    latent_dim: int = 36
    context_dim: int = 256
    image_channels: int = 3
    base_channels: int = 32
    """Channels of the first map; the others have two and three times as many."""
    image_size: int = 64
    hidden_dim: int = 0
    """Width of h; 0 if the posterior does not read it."""
    glimpse_dim: int = 0
    """Width of the glimpse; 0 if the posterior does not read it."""
    embedding_dim: int = 256
    units: int = 192
    min_std: float = math.exp(-5)
    """Floor of σ. In a world model it must not lie below the prior's: what the posterior resolves
    and the prior cannot express is noise in every dream."""
    attention_gain: float = 0.5
    """How strongly an attention map weights the last feature map in ``forward``."""
    patch: int = 4
    trunk: bool = True
    """Whether the encoder owns a convolutional trunk; False if it reads a shared one."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        for name in ("latent_dim", "image_channels", "base_channels", "embedding_dim", "units"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"VAEEncoder.{name} must be at least 1, found {getattr(self, name)}"
                )
        if self.image_size < 32:
            raise ConfigError(f"VAEEncoder.image_size must be at least 32, found {self.image_size}")
        if not 0 < self.min_std < 1:
            raise ConfigError(f"VAEEncoder.min_std must be in (0, 1), found {self.min_std}")
        if not 0 <= self.attention_gain <= 1:
            raise ConfigError(
                f"VAEEncoder.attention_gain must be in [0, 1], found {self.attention_gain}"
            )


class VAEEncoder(nn.Module):
    """Posterior over z: `precompute` for all frames, `posterior` in the loop, `forward` alone."""

    def __init__(self, config: VAEEncoderConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or VAEEncoderConfig(), **overrides)
        channels = (c.base_channels, 2 * c.base_channels, 3 * c.base_channels)
        self.low_size = grid_sizes((c.image_size, c.image_size), c.patch).low
        flat = channels[2] * self.low_size[0] * self.low_size[1]
        self.trunk = ConvTrunk(c.image_channels, channels, c.patch) if c.trunk else None
        self.embed = nn.Sequential(
            nn.Linear(flat, c.embedding_dim), nn.LayerNorm(c.embedding_dim), nn.SiLU()
        )
        self.to_pre = nn.Linear(c.embedding_dim + c.context_dim, c.units)
        recurrent = c.hidden_dim + c.glimpse_dim
        self.recurrent = nn.Linear(recurrent, c.units, bias=False) if recurrent else None
        self.norm = nn.LayerNorm(c.units)
        self.output = nn.Linear(c.units, 2 * c.latent_dim)

    def precompute(
        self, low_features: Float[Tensor, "N C h w"], context: Float[Tensor, "N X"]
    ) -> Float[Tensor, "N U"]:
        """Returns the part of the posterior's input that needs no recurrence."""
        embedding = self.embed(low_features.flatten(1))
        pre: Tensor = self.to_pre(torch.cat((embedding, context), -1))
        return pre

    def posterior(
        self,
        pre: Float[Tensor, "*b U"],
        hidden: Float[Tensor, "*b H"] | None = None,
        glimpse: Float[Tensor, "*b G"] | None = None,
    ) -> DiagonalGaussian:
        """Returns q(z | …) from `precompute`'s result and what is recurrent."""
        return self.read(self.see(pre, hidden, glimpse))

    def see(
        self,
        pre: Float[Tensor, "*b U"],
        hidden: Float[Tensor, "*b H"] | None = None,
        glimpse: Float[Tensor, "*b G"] | None = None,
    ) -> Float[Tensor, "*b U"]:
        """Returns the hidden layer of `posterior`, which a second level of latents reads too."""
        read = [x for x in (hidden, glimpse) if x is not None]
        if self.recurrent is not None:
            pre = pre + self.recurrent(torch.cat(read, -1) if len(read) > 1 else read[0])
        return F.silu(self.norm(pre))

    def read(self, seen: Float[Tensor, "*b U"]) -> DiagonalGaussian:
        """Returns q(z | …) from the hidden layer."""
        return bounded_gaussian(self.output(seen), self.config.min_std)

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        context: Float[Tensor, "B X"],
        attention_map: Float[Tensor, "B R1 R2"] | None = None,
        hidden: Float[Tensor, "B H2"] | None = None,
        glimpse: Float[Tensor, "B G"] | None = None,
        normal: Float[Tensor, "B D"] | None = None,
    ) -> EncoderOutput:
        """Encodes images with the encoder's own trunk.

        Args:
            x: Images.
            context: Perceiver context.
            attention_map: Weights the last feature map; any size.
            hidden: h, if ``hidden_dim`` is set.
            glimpse: The glimpse, if ``glimpse_dim`` is set.
            normal: Noise to draw with; without it training draws its own and evaluation takes
                the mean.
        """
        c = self.config
        if self.trunk is None:
            raise ConfigError("VAEEncoder has no trunk of its own: build it with trunk=True")
        validate_shape(x, (-1, c.image_channels, c.image_size, c.image_size), "image")
        validate_shape(context, (x.shape[0], c.context_dim), "context")
        self._check_recurrent(x.shape[0], hidden, glimpse)
        low = self.trunk(x).low
        if attention_map is not None:
            low = low * attention_gain(attention_map, c.attention_gain, self.low_size)
        q = self.posterior(self.precompute(low, context), hidden, glimpse)
        if normal is None:
            normal = torch.randn_like(q.mean) if self.training else torch.zeros_like(q.mean)
        return EncoderOutput(q.mean, q.logvar, reparameterise(q.mean, q.std, normal))

    def _check_recurrent(self, batch: int, hidden: Tensor | None, glimpse: Tensor | None) -> None:
        sizes = {"hidden": self.config.hidden_dim, "glimpse": self.config.glimpse_dim}
        for (name, width), given in zip(sizes.items(), (hidden, glimpse), strict=True):
            if given is not None:
                remedy = f"Build the encoder with {name}_dim={given.shape[-1]}"
                validate_shape(given, (batch, width), name, remedy)
            elif width:
                raise ShapeError(f"{name}: [B, {width}] required ({name}_dim={width}), found none")


def bounded_gaussian(raw: Float[Tensor, "*b D2"], min_std: float) -> DiagonalGaussian:
    """Returns N(μ, σ²) from a network's two halves; log σ stays in [log σ_min, 1], starts at 0."""
    mean, x = raw.chunk(2, -1)
    lowest = math.log(min_std)
    middle, half = (LARGEST_LOG_STD + lowest) / 2, (LARGEST_LOG_STD - lowest) / 2
    squashed = torch.tanh(x / (2 * half) + math.atanh(-middle / half))
    return DiagonalGaussian(mean, torch.exp(middle + half * squashed))
