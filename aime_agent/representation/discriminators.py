"""Discriminators: is a frame, is a film, real or made by the decoder?

    image     strided convolutions → one logit per patch (Isola et al., 2017)
    temporal  patches → attention within each frame → s_t
                      → causal attention over time at each patch → τ_t
              logit_t = s_t + τ_t: does frame t look real, and does it follow from frames ≤ t?

All weights are divided by their largest singular value (Miyato et al., 2018), estimated by one
power iteration per forward pass in training mode; in eval mode nothing changes. There is no norm
over the batch, so a logit depends on its own example alone. Hidden layers come back beside the
logits, for feature matching. Attention is factorised: T·N² + N·T² pairs for N patches and T
frames, where one attention over all T·N tokens has (T·N)².
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from aime_agent.configs import override
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.conv import pad_to_multiple
from aime_agent.layers.positional import GridEmbedding
from aime_agent.layers.spectral import SpectralBlock, rotary_positions
from aime_agent.shapes import validate_shape


class ImageJudgement(NamedTuple):
    """What `ImageDiscriminator` says about N frames."""

    logits: Float[Tensor, "N H1 W1"]
    """One per patch; the higher, the more real."""
    features: list[Tensor]
    """Hidden maps ``[N, C, H, W]``, the finest first."""


class TemporalJudgement(NamedTuple):
    """What `TemporalDiscriminator` says about B films."""

    spatial: Float[Tensor, "B T"]
    """s_t, from frame t alone."""
    temporal: Float[Tensor, "B T"]
    """τ_t, from frames ≤ t of the same episode."""
    features: list[Tensor]
    """Hidden tokens ``[B, T, N, D]`` after each block."""
    keep: Bool[Tensor, "B T"]
    """Which frames count."""

    @property
    def logits(self) -> Float[Tensor, "B T"]:
        """One per frame; the higher, the more real."""
        return self.spatial + self.temporal


class TemporalScores(TypedDict, total=False):
    """`TemporalJudgement` under the original's key names."""

    temporal_score: Float[Tensor, "B 1"]
    spatial_score: Float[Tensor, "B 1"]
    per_frame_scores: Float[Tensor, "B T 1"]
    final_score: Float[Tensor, "B 1"]
    sequence_lengths: Int[Tensor, " B"]
    spatial_shape: tuple[int, int]
    features: list[Tensor]
    hidden_3d: Float[Tensor, "B T N D"]


@dataclass(frozen=True, kw_only=True)
class ImageDiscriminatorConfig:
    """Settings of `ImageDiscriminator`."""

    input_channels: int = 3
    ndf: int = 16
    """Channels of the first layer; they double with each layer, up to eight times."""
    n_layers: int = 3
    """Strided layers: the grid of logits is the image divided by 2 to this power."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        _at_least_one(self, ("input_channels", "ndf", "n_layers"))


class ImageDiscriminator(nn.Module):
    """Frames to one logit per patch."""

    def __init__(self, config: ImageDiscriminatorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or ImageDiscriminatorConfig(), **overrides)
        widths = [c.input_channels, *(c.ndf * min(2**i, 8) for i in range(c.n_layers))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths)
        )
        self.to_logit = spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def infer(self, frames: Float[Tensor, "N C H W"]) -> ImageJudgement:
        """Returns logits and hidden maps; sides must be at least 2 to the number of layers."""
        c = self.config
        validate_shape(frames, (-1, c.input_channels, -1, -1), "frames")
        if min(frames.shape[-2:]) < 2**c.n_layers:
            raise ShapeError(
                f"frames: {c.n_layers} strided layers need sides of at least {2**c.n_layers}, found "
                f"{list(frames.shape[-2:])}. Build it with a smaller n_layers"
            )
        features = []
        for layer in self.layers:
            frames = F.leaky_relu(layer(frames), 0.2)
            features.append(frames)
        return ImageJudgement(self.to_logit(frames).squeeze(1), features)

    def forward(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N H1 W1"]:
        """Returns the logits."""
        return self.infer(frames).logits


@dataclass(frozen=True, kw_only=True)
class TemporalDiscriminatorConfig:
    """Settings of `TemporalDiscriminator`; names and defaults are the original's."""

    input_channels: int = 3
    image_size: int = 64
    hidden_dim: int = 512
    """Width of a token."""
    n_layers: int = 6
    """Blocks over time, after one block within the frame."""
    n_heads: int = 8
    max_sequence_length: int = 32
    """Longest film."""
    patch_size: int = 8
    z_dim: int = 32
    """Width of a latent that the films may come with; 0 if they never do."""
    film_scale: float = 0.5
    """How much the latent may change a token: by this share of it, and by as much on top."""
    use_rope_temporal: bool = True
    """Rotary positions in time (Su et al., 2021); otherwise learned ones."""
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        """Checks ranges."""
        names = ("input_channels", "image_size", "hidden_dim", "n_layers", "n_heads")
        _at_least_one(self, (*names, "max_sequence_length", "patch_size"))
        if self.hidden_dim % (2 * self.n_heads):
            raise ConfigError(
                f"{type(self).__name__}.hidden_dim must be a multiple of twice n_heads "
                f"({2 * self.n_heads}), found {self.hidden_dim}"
            )
        for name in ("z_dim", "film_scale"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{type(self).__name__}.{name} must be at least 0, found {getattr(self, name)}"
                )
        if self.rope_base <= 1:
            raise ConfigError(
                f"{type(self).__name__}.rope_base must be above 1, found {self.rope_base}"
            )

    @property
    def side(self) -> int:
        """Patches along a side, the last one padded."""
        return -(-self.image_size // self.patch_size)


class TemporalDiscriminator(nn.Module):
    """Films to one logit per frame, given the frames before it."""

    positions: Tensor | None

    def __init__(self, config: TemporalDiscriminatorConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or TemporalDiscriminatorConfig(), **overrides)
        self.to_tokens = spectral_norm(
            nn.Conv2d(c.input_channels, c.hidden_dim, c.patch_size, c.patch_size)
        )
        self.places = GridEmbedding((c.side, c.side), c.hidden_dim, std=0.02)
        self.film = nn.Linear(c.z_dim, 2 * c.hidden_dim) if c.z_dim else None
        self.within = SpectralBlock(c.hidden_dim, c.n_heads)
        self.over_time = nn.ModuleList(
            SpectralBlock(c.hidden_dim, c.n_heads) for _ in range(c.n_layers)
        )
        shape = (c.max_sequence_length, 1, c.hidden_dim)
        self.times = None if c.use_rope_temporal else nn.Parameter(0.02 * torch.randn(shape))
        rotary = None
        if c.use_rope_temporal:
            head = c.hidden_dim // c.n_heads
            rotary = rotary_positions(c.max_sequence_length, head, c.rope_base)
        self.register_buffer("positions", rotary, persistent=False)
        self.spatial_head, self.temporal_head = (_Head(c.hidden_dim) for _ in range(2))

    def infer(
        self,
        films: Float[Tensor, "B T C H W"],
        z: Float[Tensor, "B *T Z"] | None = None,
        is_first: Bool[Tensor, "B T"] | None = None,
        sequence_lengths: Int[Tensor, " B"] | None = None,
    ) -> TemporalJudgement:
        """Returns logits and hidden tokens.

        Args:
            films: Frames, in any scale that real and made ones share.
            z: Latent per frame or per film, to judge the film as a picture of it.
            is_first: Where an episode begins inside a film: nothing before it is looked at.
            sequence_lengths: Frames of each film that count; all if absent.

        Raises:
            ShapeError: films do not fit the settings, or are too long.
        """
        c = self.config
        size = (c.input_channels, c.image_size, c.image_size)
        validate_shape(films, (-1, -1, *size), "films")
        batch, length = films.shape[:2]
        if length > c.max_sequence_length:
            raise ShapeError(
                f"films: at most {c.max_sequence_length} frames, found {length}. Build it with "
                "a larger max_sequence_length"
            )
        maps = self.to_tokens(pad_to_multiple(films.flatten(0, 1), c.patch_size))
        tokens = maps.flatten(2).mT.unflatten(0, (batch, length)) + self.places()
        tokens = self._modulated(tokens, z)
        tokens = self.within(tokens.flatten(0, 1)).unflatten(0, (batch, length))
        spatial = self.spatial_head(tokens)
        features = [tokens]
        if self.times is not None:
            tokens = tokens + self.times[:length]
        mask, keep = _visible(films, is_first, sequence_lengths)
        for block in self.over_time:
            tokens = cast("SpectralBlock", block).over_time(tokens, mask, self.positions)
            features.append(tokens)
        temporal = self.temporal_head(tokens)
        return TemporalJudgement(spatial, temporal, features, keep)

    def forward(
        self,
        films: Float[Tensor, "B T C H W"],
        z: Float[Tensor, "B *T Z"] | None = None,
        sequence_lengths: Int[Tensor, " B"] | None = None,
        return_features: bool = False,
    ) -> TemporalScores:
        """Returns the original's scores: means over the frames that count.

        ``final_score`` is their sum's, ``spatial_score + temporal_score``; the original added the
        mean of ``per_frame_scores`` once more.
        """
        out = self.infer(films, z, None, sequence_lengths)
        weight = out.keep.to(films.dtype) / out.keep.sum(1, keepdim=True)
        spatial, temporal = ((weight * x).sum(1, keepdim=True) for x in (out.spatial, out.temporal))
        scores = TemporalScores(
            temporal_score=temporal,
            spatial_score=spatial,
            per_frame_scores=out.logits.unsqueeze(-1),
            final_score=spatial + temporal,
            sequence_lengths=out.keep.sum(1),
            spatial_shape=(self.config.side, self.config.side),
        )
        if return_features:
            scores |= TemporalScores(features=out.features, hidden_3d=out.features[-1])
        return scores

    def _modulated(self, tokens: Float[Tensor, "B T N D"], z: Tensor | None) -> Tensor:
        if z is None:
            return tokens
        if self.film is None:
            raise ConfigError("TemporalDiscriminator got z: build it with its width as z_dim")
        validate_shape(z, (*tokens.shape[: z.ndim - 1], self.config.z_dim), "z")
        gain, shift = (self.config.film_scale * self.film(z).tanh()).chunk(2, -1)
        wide = (len(z), -1, 1, tokens.shape[-1])
        return tokens * (1 + gain.view(wide)) + shift.view(wide)


class _Head(nn.Module):
    """One logit from the mean token, normed: where little moves, the mean alone says little."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_logit = spectral_norm(nn.Linear(dim, 1))

    def forward(self, tokens: Float[Tensor, "B T N D"]) -> Float[Tensor, "B T"]:
        return self.to_logit(self.norm(tokens.mean(2))).squeeze(-1)


def _visible(
    films: Tensor, is_first: Tensor | None, lengths: Tensor | None
) -> tuple[Bool[Tensor, "B 1 T T"], Bool[Tensor, "B T"]]:
    """Which times each time may read, and which frames count at all."""
    batch, length = films.shape[:2]
    steps = torch.arange(length, device=films.device)
    episode = torch.zeros(batch, length, device=films.device)
    if is_first is not None:
        validate_shape(is_first, (batch, length), "is_first")
        episode = is_first.cumsum(1)
    keep = torch.ones(batch, length, dtype=torch.bool, device=films.device)
    if lengths is not None:
        validate_shape(lengths, (batch,), "sequence_lengths")
        keep = steps < lengths.clamp(1, length)[:, None]
    same = episode[:, :, None] == episode[:, None]
    return (same & (steps[:, None] >= steps))[:, None], keep


def _at_least_one(config: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(
                f"{type(config).__name__}.{name} must be at least 1, found {getattr(config, name)}"
            )
