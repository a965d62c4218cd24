"""VQPTTokenizer: video to a grid of discrete tokens per frame, and back.

    features = encoder(o_≤t)  (or the features of a shared trunk)
    code, id = quantise(W features),    ô_t = decoder(code_≤t)

Everything is causal in time: tokens of frame t depend on frames ≤ t. The decoder sees the codes and
nothing else. With ``temporal_downsample`` a token stands for two frames and is repeated forward:
the tokens of every odd frame are then one frame stale, but never early.

Shapes: h, w token grid, D code width, Q quantisers (a trailing axis of the ids only if Q > 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.layers.unet3d import FrameDecoder, FrameEncoder
from aime_agent.perception.checks import as_pair, fold_levels, require, require_positive
from aime_agent.perception.finite_scalar_quantizer import (
    FiniteScalarQuantizer,
    FiniteScalarQuantizerConfig,
)
from aime_agent.perception.patch_decoder import PatchDecoder
from aime_agent.perception.vector_quantizer import VectorQuantizer, VectorQuantizerConfig
from aime_agent.shapes import validate_shape

IMAGE_REMEDY = "Build the module with the image_size and in_channels of the video"
TOKEN_REMEDY = (
    "Pass tokens as encode() returns them, one grid per frame: temporally downsampled ids are "
    "repeated forward to all T frames there (repeat_forward does it alone); do not view() them"
)


class EncodedVideo(NamedTuple):
    """The triple of `VQPTTokenizer.encode`."""

    tokens: Int[Tensor, "B T h w *Q"]
    """Code indices."""
    vq_loss: Float[Tensor, ""]
    """Weighted mean commitment."""
    perplexity: Float[Tensor, ""]
    """Effective number of codes in use."""


class FrameTokens(NamedTuple):
    """Tokens of N unrelated frames."""

    codes: Float[Tensor, "N D h w"]
    """Straight-through codes."""
    ids: Int[Tensor, "N h w *Q"]
    """Code indices; they carry no gradient."""
    commitment: Float[Tensor, "N"]
    """Mean commitment of a frame times ``commitment_weight``."""
    perplexity: Float[Tensor, ""]
    """Effective number of codes in use."""


class VideoTokens(NamedTuple):
    """Everything `VQPTTokenizer.infer` knows about a video."""

    codes: Float[Tensor, "B T D h w"]
    """Straight-through codes."""
    ids: Int[Tensor, "B T h w *Q"]
    """Code indices."""
    commitment: Float[Tensor, "B T"]
    """Weighted commitment of each frame."""
    perplexity: Float[Tensor, ""]
    """Effective number of codes in use."""


@dataclass(frozen=True, kw_only=True)
class VQPTTokenizerConfig:
    """Settings of `VQPTTokenizer`."""

    in_channels: int = 3
    """Channels of the video."""
    code_dim: int = 256
    """Width of a code."""
    num_codes: int = 1024
    """Codes per quantiser."""
    downsample: int = 8
    """Image side over grid side; a power of two."""
    base_channels: int = 64
    """Width of the finest stage of encoder and decoder."""
    commitment_weight: float = 0.25
    """Factor of the commitment in every loss that leaves the tokenizer."""
    use_3d_conv: bool = False
    """Convolve over time too, causally; needs the tokenizer's own encoder."""
    temporal_downsample: bool = False
    """One token grid per two frames, repeated forward; needs ``use_3d_conv``."""
    num_quantizers: int = 1
    """Product quantisation: ids get a trailing axis of this size if it is above 1."""
    feature_channels: int | None = None
    """Build no encoder but a 1×1 projection from this many channels of a shared trunk."""
    image_size: int | Sequence[int] = (64, 64)
    """Side, or height and width, of the images."""
    grid_size: tuple[int, int] | None = None
    """Grid of the shared trunk where it is not image_size / downsample, rounded down."""
    decoder: Literal["unet", "patch"] = "unet"
    """``patch``: one 3×3 convolution and one linear map per cell, cheap."""
    decay: float = 0.99
    """Of the codebook's moving averages."""
    revival_threshold: float = 0.1
    """Codes used less than this share of the average use are replaced; 0 turns it off."""
    quantizer: Literal["vq", "fsq"] = "vq"
    """``fsq``: a fixed grid instead of a learned codebook; ``num_codes`` is then the product of
    ``levels``, and decay, revival and commitment have nothing to act on."""
    levels: Sequence[int] = (8, 5, 5, 5)
    """Values of each scalar of a code, for ``fsq``."""
    code_gradient: Literal["straight_through", "rotation"] = "straight_through"
    """How a code's gradient reaches the features, for ``vq``."""

    def __post_init__(self) -> None:
        fold_levels(self)
        object.__setattr__(self, "image_size", as_pair(self.image_size))
        if self.grid_size is not None:
            object.__setattr__(self, "grid_size", as_pair(self.grid_size))
        require_positive(self, "in_channels", "code_dim", "num_codes", "base_channels")
        self._check_sizes()
        self._check_options()

    @property
    def num_stages(self) -> int:
        """Halvings between image and grid."""
        return self.downsample.bit_length() - 1

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width from the token grid up to the image."""
        height, width = as_pair(self.image_size)
        levels = [(height >> i, width >> i) for i in range(self.num_stages + 1)]
        levels[-1] = self.grid_size or levels[-1]
        return tuple(reversed(levels))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the token grid."""
        return self.sizes[0]

    def build_quantizer(self) -> VectorQuantizer | FiniteScalarQuantizer:
        """Returns the quantiser that the settings describe."""
        if self.quantizer == "fsq":
            return FiniteScalarQuantizer(
                FiniteScalarQuantizerConfig(
                    code_dim=self.code_dim, levels=self.levels, num_quantizers=self.num_quantizers
                )
            )
        return VectorQuantizer(
            VectorQuantizerConfig(
                num_codes=self.num_codes,
                code_dim=self.code_dim,
                num_quantizers=self.num_quantizers,
                decay=self.decay,
                revival_threshold=self.revival_threshold,
                gradient=self.code_gradient,
            )
        )

    def _check_sizes(self) -> None:
        power = self.downsample >= 2 and self.downsample & (self.downsample - 1) == 0
        require(power, self, "downsample must be a power of two from 2", self.downsample)
        fits = min(self.grid) >= 1
        require(fits, self, f"image_size must be at least {self.downsample}", self.image_size)

    def _check_options(self) -> None:
        ok = self.commitment_weight >= 0
        require(ok, self, "commitment_weight must not be negative", self.commitment_weight)
        ok = self.use_3d_conv or not self.temporal_downsample
        require(ok, self, "temporal_downsample needs use_3d_conv=True", self.temporal_downsample)
        own = self.feature_channels is None
        ok = own or not self.use_3d_conv
        require(ok, self, "use_3d_conv needs an own encoder (feature_channels=None)", True)
        ok = not own or self.grid_size is None
        require(ok, self, "grid_size needs feature_channels", self.grid_size)
        require(
            self.decoder in ("unet", "patch"),
            self,
            "decoder must be 'unet' or 'patch'",
            self.decoder,
        )


class VQPTTokenizer(nn.Module):
    """Video tokenizer; see the module's docstring.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `VQPTTokenizerConfig`.
    """

    def __init__(self, config: VQPTTokenizerConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or VQPTTokenizerConfig(), **overrides)
        self.encoder: nn.Module | None = None
        self.project: nn.Module = nn.Identity()
        if c.feature_channels is None:
            self.encoder = FrameEncoder(
                c.in_channels,
                c.code_dim,
                c.base_channels,
                c.num_stages,
                c.use_3d_conv,
                c.temporal_downsample,
            )
        else:
            self.project = nn.Linear(c.feature_channels, c.code_dim)
        self.quantizer = c.build_quantizer()
        self.decoder = _build_decoder(c)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        """Reconstructs a video from its tokens."""
        return self.decode(self.infer(video).codes)

    def encode(self, video: Float[Tensor, "B T C H W"]) -> EncodedVideo:
        """Returns tokens, loss and perplexity of a video."""
        tokens = self.infer(video)
        return EncodedVideo(tokens.ids, tokens.commitment.mean(), tokens.perplexity)

    def infer(
        self,
        video: Float[Tensor, "B T C H W"],
        update_codebook: bool = False,
        noise: Float[Tensor, "Q K"] | None = None,
    ) -> VideoTokens:
        """Returns codes, tokens and losses of a video.

        Args:
            video: Frames in [0, 1].
            update_codebook: Let the codebook learn from this video.
            noise: See `VectorQuantizer.forward`.

        Raises:
            ConfigError: the tokenizer was built for the features of a shared trunk.
        """
        c = self.config
        if self.encoder is None:
            raise ConfigError(
                "VQPTTokenizer has no encoder because feature_channels is set; "
                "call quantize(features), or build it without feature_channels"
            )
        validate_shape(video, (-1, -1, c.in_channels, *c.sizes[-1]), "video", IMAGE_REMEDY)
        features = self.encoder(video)
        frames = self.quantize(features.flatten(0, 1), update_codebook, noise)
        pieces = [torch.unflatten(x, 0, features.shape[:2]) for x in frames[:3]]
        if c.temporal_downsample:
            pieces = [repeat_forward(x, video.shape[1]) for x in pieces]
        codes, ids, commitment = pieces
        return VideoTokens(codes, ids, commitment, frames.perplexity)

    def quantize(
        self,
        features: Float[Tensor, "N F h w"],
        update_codebook: bool = False,
        noise: Float[Tensor, "Q K"] | None = None,
    ) -> FrameTokens:
        """Quantises feature grids of single frames.

        Args:
            features: From the shared trunk, or already ``code_dim`` wide without one.
            update_codebook: Let the codebook learn from these features.
            noise: See `VectorQuantizer.forward`.
        """
        c = self.config
        width = c.code_dim if c.feature_channels is None else c.feature_channels
        validate_shape(features, (-1, width, *c.grid), "features", "See grid_size")
        out = self.quantizer(self.project(features.flatten(2).mT), update_codebook, noise)
        ids = out.ids.squeeze(-1) if c.num_quantizers == 1 else out.ids
        return FrameTokens(
            torch.unflatten(out.codes.mT, -1, c.grid),
            torch.unflatten(ids, 1, c.grid),
            out.commitment.mean(-1) * c.commitment_weight,
            out.perplexity,
        )

    def lookup(self, ids: Int[Tensor, "N h w *Q"]) -> Float[Tensor, "N D h w"]:
        """Returns the codes of the ids of single frames."""
        ids = ids.unsqueeze(-1) if self.config.num_quantizers == 1 else ids
        return self.quantizer.lookup(ids).movedim(-1, 1)

    def decode(self, tokens: Tensor) -> Float[Tensor, "B T C H W"]:
        """Decodes ids ``[B, T, h, w]`` (and Q, if above 1) or codes ``[B, T, D, h, w]``."""
        c = self.config
        if tokens.is_floating_point():
            validate_shape(tokens, (-1, -1, c.code_dim, *c.grid), "codes", TOKEN_REMEDY)
            return self.decoder(tokens)
        trailing = () if c.num_quantizers == 1 else (c.num_quantizers,)
        validate_shape(tokens, (-1, -1, *c.grid, *trailing), "tokens", TOKEN_REMEDY)
        return self.decoder(torch.unflatten(self.lookup(tokens.flatten(0, 1)), 0, tokens.shape[:2]))

    def decode_codes(self, codes: Float[Tensor, "N D h w"]) -> Float[Tensor, "N C H W"]:
        """Decodes single frames; each is its own video where the decoder looks back in time."""
        return self.decoder(codes.unsqueeze(1)).squeeze(1)


def _build_decoder(c: VQPTTokenizerConfig) -> nn.Module:
    if c.decoder == "patch":
        sizes = (c.sizes[0], c.sizes[-1])
        return PatchDecoder(c.code_dim, c.in_channels, c.base_channels, sizes, c.downsample)
    return FrameDecoder(c.code_dim, c.in_channels, c.base_channels, c.sizes[1:], c.use_3d_conv)


def repeat_forward(grids: Tensor, num_frames: int) -> Tensor:
    """Shows each of the T' grids ``[B, T', ...]`` for two frames, T frames in all.

    >>> import torch
    >>> repeat_forward(torch.tensor([[7, 8]]), 3)
    tensor([[7, 7, 8]])
    """
    return grids.repeat_interleave(2, dim=1)[:, :num_frames]
