"""CausalPerceiverIO: video to one context vector per frame.

    codes_t = tokenizer(o_≤t) → summary_t = Perceiver(codes_t) → context_t = mixer(summary_{t−W<j≤t})

Context t never depends on frames after t, nor on frames of another episode. Three ways to the same
numbers: a whole sequence (`mix`), chunks of it, or frame by frame (`step`); the state between calls
is a `MixerCache`. Its learning signals are the pixels rebuilt from the true codes, the commitment,
and the prediction of the next frame's tokens from (context_t, a_t).

Shapes: F summary width, X context width, D code width, h, w token grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.perception.checks import (
    as_pair,
    fold_levels,
    require,
    require_positive,
    require_share,
)
from aime_agent.perception.frame_encoder import FramePerceiver, PerceiverSizes
from aime_agent.perception.mixer import CausalMixer, MixerCache
from aime_agent.perception.token_predictor import (
    PerceiverTokenPredictor,
    PerceiverTokenPredictorConfig,
)
from aime_agent.perception.tokenizer import VideoTokens, VQPTTokenizer, VQPTTokenizerConfig
from aime_agent.shapes import validate_shape

__all__ = [
    "CausalPerceiverIO",
    "CausalPerceiverIOConfig",
    "MixerCache",
    "PerceptionLosses",
    "PerceptionOutput",
]


class PerceptionOutput(NamedTuple):
    """What `CausalPerceiverIO.infer` returns."""

    context: Float[Tensor, "B T X"]
    """One vector per frame, normalised."""
    tokens: VideoTokens
    """Codes, ids, commitment and perplexity."""
    cache: MixerCache
    """State to go on with."""


class PerceptionLosses(NamedTuple):
    """What `CausalPerceiverIO.compute_loss` returns; all scalars."""

    loss: Float[Tensor, ""]
    """Sum of the next three."""
    reconstruction_loss: Float[Tensor, ""]
    """Mean squared error of the pixels rebuilt from the true codes."""
    vq_loss: Float[Tensor, ""]
    """Weighted commitment."""
    ce_loss: Float[Tensor, ""]
    """Cross-entropy of the next frame's tokens, nats per token."""
    perplexity: Float[Tensor, ""]
    """Effective number of codes in use."""


@dataclass(frozen=True, kw_only=True)
class CausalPerceiverIOConfig:
    """Settings of `CausalPerceiverIO`."""

    video_shape: tuple[int, int, int, int] | None = None
    """(T, C, H, W): sets in_channels and image_size and is then cleared; any T will do later."""
    in_channels: int = 3
    """Channels of the video."""
    image_size: int | Sequence[int] = (64, 64)
    """Side, or height and width, of the images."""
    num_latents: int = 128
    """Latents that read a frame's codes."""
    num_latent_channels: int = 256
    """F, width of latents and summaries."""
    context_dim: int | None = None
    """X, width of the context; None means num_latent_channels."""
    num_attention_heads: int = 8
    """Heads of every attention; divide num_latent_channels."""
    num_encoder_layers: int = 6
    """Self-attention blocks over the latents of a frame."""
    widening_factor: int = 4
    """Hidden width of every MLP over num_latent_channels."""
    code_dim: int = 256
    """Width of a code."""
    num_codes: int = 1024
    """Codes per quantiser."""
    codebook_size: int | None = None
    """Alias: sets num_codes and is then cleared."""
    downsample: int = 8
    """Image side over token grid side."""
    dropout: float = 0.0
    """Share of every attention and MLP branch that is dropped in training."""
    base_channels: int = 64
    """Finest width of the tokenizer's encoder and decoder."""
    commitment_weight: float = 0.25
    """Factor of the commitment."""
    use_3d_conv: bool = False
    """Tokenizer convolves over time, causally."""
    temporal_downsample: bool = False
    """One token grid per two frames, repeated forward: odd frames see stale tokens."""
    num_quantizers: int = 1
    """Product quantisation."""
    window: int = 8
    """Frames that a context can see, its own included."""
    action_dim: int = 6
    """Width of the action, for the prediction of the next tokens."""
    query_dim: int = 64
    """Width of the token predictor's queries."""
    feature_channels: int | None = None
    """Take features of a shared trunk instead of building an encoder."""
    grid_size: tuple[int, int] | None = None
    """Grid of the shared trunk where it is not image_size / downsample, rounded down."""
    decoder: Literal["unet", "patch"] = "unet"
    """Decoder of the tokenizer."""
    decay: float = 0.99
    """Of the codebook's moving averages."""
    revival_threshold: float = 0.1
    """Codes used less than this share of the average use are replaced."""
    quantizer: Literal["vq", "fsq"] = "vq"
    """Learned codebook, or a fixed grid whose ``levels`` then decide ``num_codes``."""
    levels: Sequence[int] = (8, 5, 5, 5)
    """Values of each scalar of a code, for ``fsq``."""
    code_gradient: Literal["straight_through", "rotation"] = "straight_through"
    """How a code's gradient reaches the features, for ``vq``."""

    def __post_init__(self) -> None:
        self._fold_aliases()
        fold_levels(self)
        require_positive(self, "num_latents", "num_latent_channels", "num_attention_heads")
        require_positive(self, "widening_factor", "window", "action_dim", "query_dim", "num_codes")
        require_share(self, "dropout")
        layers = self.num_encoder_layers
        require(layers >= 0, self, "num_encoder_layers must not be negative", layers)
        width, heads = self.num_latent_channels, self.num_attention_heads
        rule = f"num_attention_heads must divide num_latent_channels {width}"
        require(width % heads == 0, self, rule, heads)
        narrow = self.context_dim is not None and self.context_dim < 1
        require(not narrow, self, "context_dim must be at least 1", self.context_dim)

    @property
    def tokenizer(self) -> VQPTTokenizerConfig:
        """Settings of the tokenizer."""
        names = VQPTTokenizerConfig.__dataclass_fields__
        return VQPTTokenizerConfig(**{name: getattr(self, name) for name in names})

    @property
    def context_width(self) -> int:
        """X."""
        return self.context_dim or self.num_latent_channels

    def _fold_aliases(self) -> None:
        if self.video_shape is not None:
            _, channels, height, width = self.video_shape
            object.__setattr__(self, "in_channels", channels)
            object.__setattr__(self, "image_size", (height, width))
            object.__setattr__(self, "video_shape", None)
        if self.codebook_size is not None:
            object.__setattr__(self, "num_codes", self.codebook_size)
            object.__setattr__(self, "codebook_size", None)
        object.__setattr__(self, "image_size", as_pair(self.image_size))


class CausalPerceiverIO(nn.Module):
    """Causal video perception; see the module's docstring.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `CausalPerceiverIOConfig`.
    """

    def __init__(self, config: CausalPerceiverIOConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        _refuse_both(overrides, "num_codes", "codebook_size")
        self.config = c = override(config or CausalPerceiverIOConfig(), **overrides)
        sizes = PerceiverSizes(
            c.num_latent_channels, c.num_attention_heads, c.widening_factor, c.dropout
        )
        self.context_dim = c.context_width
        self.tokenizer = VQPTTokenizer(c.tokenizer)
        self.grid = self.tokenizer.config.grid
        self.frame_encoder = FramePerceiver(
            c.code_dim, self.grid, c.num_latents, c.num_encoder_layers, sizes
        )
        self.mixer = CausalMixer(c.window, self.context_dim, sizes)
        self.predictor = PerceiverTokenPredictor(
            PerceiverTokenPredictorConfig(
                context_dim=self.context_dim,
                action_dim=c.action_dim,
                num_codes=c.num_codes,
                num_quantizers=c.num_quantizers,
                grid_size=self.grid,
                query_dim=c.query_dim,
            )
        )

    def forward(
        self, videos: Float[Tensor, "B T C H W"], is_first: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T X"]:
        """Returns the context of every frame."""
        return self.infer(videos, is_first).context

    def infer(
        self,
        videos: Float[Tensor, "B T C H W"],
        is_first: Bool[Tensor, "B T"] | None = None,
        cache: MixerCache | None = None,
        update_codebook: bool = False,
    ) -> PerceptionOutput:
        """Returns contexts, tokens and the state after the video.

        Args:
            videos: Frames in [0, 1].
            is_first: True where an episode begins; default: nowhere after the first frame.
            cache: State after the frames before; default: none.
            update_codebook: Let the codebook learn from this video.
        """
        tokens = self.tokenizer.infer(videos, update_codebook)
        shape = videos.shape[:2]
        summaries = torch.unflatten(self.summarise(tokens.codes.flatten(0, 1)), 0, shape)
        first = _nowhere(videos) if is_first is None else is_first
        before = self.initial_cache(shape[0]) if cache is None else cache
        context, after = self.mix(summaries, first, before)
        return PerceptionOutput(context, tokens, after)

    def extract_context(
        self, videos: Float[Tensor, "B T C H W"], detach: bool = False
    ) -> Float[Tensor, "B T X"]:
        """Returns the context of every frame of one running episode.

        Args:
            videos: Frames in [0, 1].
            detach: Stop the gradient.
        """
        context = self.infer(videos).context
        return context.detach() if detach else context

    def reconstruct(self, videos: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        """Returns the video as its tokens tell it."""
        return self.tokenizer(videos)

    def summarise(self, codes: Float[Tensor, "N D h w"]) -> Float[Tensor, "N F"]:
        """Returns one summary per frame of codes."""
        expected = (-1, self.config.code_dim, *self.grid)
        validate_shape(codes, expected, "codes", "Pass codes as tokenizer.quantize() returns them")
        return self.frame_encoder(codes)

    def initial_cache(self, batch_size: int) -> MixerCache:
        """Returns the state before the first frame."""
        return self.mixer.initial_cache(batch_size)

    def mix(
        self,
        summaries: Float[Tensor, "B T F"],
        is_first: Bool[Tensor, "B T"],
        cache: MixerCache,
    ) -> tuple[Float[Tensor, "B T X"], MixerCache]:
        """Returns the contexts of T frames that follow ``cache``, and the state after them."""
        return self.mixer(summaries, is_first, cache)

    def step(
        self, summary: Float[Tensor, "B F"], is_first: Bool[Tensor, "B"], cache: MixerCache
    ) -> tuple[Float[Tensor, "B X"], MixerCache]:
        """Returns the context of one frame that follows ``cache``, and the state after it."""
        context, cache = self.mixer(summary.unsqueeze(1), is_first.unsqueeze(1), cache)
        return context.squeeze(1), cache

    def compute_loss(
        self,
        videos: Float[Tensor, "B T C H W"],
        actions: Float[Tensor, "B T A"] | None = None,
        is_first: Bool[Tensor, "B T"] | None = None,
        update_codebook: bool = False,
    ) -> PerceptionLosses:
        """Returns the losses of perception trained alone.

        Args:
            videos: At least two frames in [0, 1].
            actions: a_t, chosen after frame t; default: zeros.
            is_first: True where an episode begins; no token is predicted across it.
            update_codebook: Let the codebook learn from this video.
        """
        first = _nowhere(videos) if is_first is None else is_first
        if actions is None:
            actions = videos.new_zeros(*videos.shape[:2], self.config.action_dim)
        out = self.infer(videos, first, update_codebook=update_codebook)
        nats = self._prediction(out.context, actions, out.tokens.ids)
        inside = (~first[:, 1:]).to(nats.dtype)
        ce_loss = (nats * inside).sum() / inside.sum().clamp_min(1.0)
        error = (self.tokenizer.decode(out.tokens.codes) - videos).square().mean()
        vq_loss = out.tokens.commitment.mean()
        total = error + vq_loss + ce_loss
        return PerceptionLosses(total, error, vq_loss, ce_loss, out.tokens.perplexity)

    def _prediction(
        self,
        context: Float[Tensor, "B T X"],
        actions: Float[Tensor, "B T A"],
        ids: Int[Tensor, "B T h w *Q"],
    ) -> Float[Tensor, "B t"]:
        """Returns the cross-entropy of the tokens of frames 1 to T − 1."""
        now = (context[:, :-1].flatten(0, 1), actions[:, :-1].flatten(0, 1))
        return self.predictor.loss(*now, ids[:, 1:].flatten(0, 1)).view(context.shape[0], -1)


def _nowhere(videos: Tensor) -> Bool[Tensor, "B T"]:
    return torch.zeros(videos.shape[:2], dtype=torch.bool, device=videos.device)


def _refuse_both(given: dict[str, Any], name: str, alias: str) -> None:
    if name in given and alias in given:
        raise ConfigError(f"{alias} is another name of {name}: give one of them")
