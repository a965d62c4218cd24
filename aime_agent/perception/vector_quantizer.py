"""VectorQuantizer: continuous vectors to codes of a learned codebook and back.

    id = argmin_k ‖z − e_k‖²,    code = z + sg(e_id − z),    commitment = mean_d (z − sg(e_id))²

(van den Oord et al., 2017; equations of the moving averages in `functional.quantization`.) The
commitment stops the gradient of the code: stopped the other way round it would train nothing, since
the codebook is no parameter. The codebook moves only in a call with ``update_codebook=True``; the
first such call initialises it from its own vectors. Codes chosen less than ``revival_threshold``
times as often as the average code are replaced by vectors of the batch. Which vectors is decided by
``noise`` or, without it, by a low-discrepancy sequence indexed by the number of updates, so no
random state is consumed and a resumed run revives alike. Several processes learn one codebook.

Shapes: D vector width, Q quantisers on slices of width D/Q, K codes each.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aime_agent import distributed, precision
from aime_agent.configs import override
from aime_agent.functional import quantization as vq
from aime_agent.perception.checks import require, require_positive, require_share

# 2³² times the golden ratio and times √2 − 1: multiples of both spread evenly modulo 2³².
GOLDEN, SILVER = 2654435769, 1779033704


class Quantized(NamedTuple):
    """What `VectorQuantizer` returns."""

    codes: Float[Tensor, "*batch D"]
    """Nearest codes with the gradient of the input (straight-through)."""
    ids: Int[Tensor, "*batch Q"]
    """Their indices, one per quantiser."""
    commitment: Float[Tensor, "*batch"]
    """Mean squared distance of the input to its stopped code."""
    perplexity: Float[Tensor, ""]
    """Effective number of codes in use in this batch, mean over quantisers."""


@dataclass(frozen=True, kw_only=True)
class VectorQuantizerConfig:
    """Settings of `VectorQuantizer`."""

    num_codes: int = 1024
    """Codes per quantiser."""
    code_dim: int = 256
    """Width of the vectors."""
    num_quantizers: int = 1
    """Product quantisation: independent codebooks on equal slices of the vector."""
    decay: float = 0.99
    """Share of the moving averages that survives an update."""
    epsilon: float = 1e-5
    """Laplace smoothing of the counts."""
    revival_threshold: float = 0.1
    """Codes used less than this share of the average use are replaced; 0 turns it off."""
    gradient: Literal["straight_through", "rotation"] = "straight_through"
    """How a code's gradient reaches the vector: copied, or turned as the vector was
    (`functional.quantization.rotate_to_code`)."""

    def __post_init__(self) -> None:
        require_positive(self, "num_codes", "code_dim", "num_quantizers")
        require_share(self, "decay", "revival_threshold")
        require(self.epsilon > 0, self, "epsilon must be positive", self.epsilon)
        kinds = ("straight_through", "rotation")
        rule = "gradient must be 'straight_through' or 'rotation'"
        require(self.gradient in kinds, self, rule, self.gradient)
        divides = self.code_dim % self.num_quantizers == 0
        require(
            divides,
            self,
            f"num_quantizers must divide code_dim {self.code_dim}",
            self.num_quantizers,
        )


class VectorQuantizer(nn.Module):
    """Quantises vectors with a moving-average codebook; see the module's docstring.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `VectorQuantizerConfig`.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    initialised: Tensor
    num_updates: Tensor

    def __init__(self, config: VectorQuantizerConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or VectorQuantizerConfig(), **overrides)
        shape = (c.num_quantizers, c.num_codes)
        codes = torch.randn(*shape, c.code_dim // c.num_quantizers)
        self.register_buffer("codebook", codes)
        self.register_buffer("counts", torch.ones(shape))
        self.register_buffer("sums", codes.clone())
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    @precision.exactly
    def forward(
        self,
        z: Float[Tensor, "*batch D"],
        update_codebook: bool = False,
        noise: Float[Tensor, "Q K"] | None = None,
    ) -> Quantized:
        """Quantises ``z`` with the codebook as it is, then updates the codebook if asked.

        Args:
            z: Vectors.
            update_codebook: Move the codebook towards ``z`` (and initialise it the first time).
            noise: Uniform numbers in [0, 1) that pick the vectors for dead codes.
        """
        flat = z.flatten(0, -2).to(self.codebook.dtype)
        slices = vq.split_vectors(flat.detach(), self.config.num_quantizers)
        if update_codebook:
            self._store(self._initialised_from(slices, noise))
        ids = vq.nearest_code(slices, self.codebook)
        codes = vq.ids_to_codes(ids.mT, self.codebook)
        counts = vq.code_counts(ids, self.codebook)
        if update_codebook:
            counts = distributed.total(counts)
            sums = distributed.total(vq.code_sums(slices, ids, self.codebook))
            self._update(slices, vq.CodeStatistics(counts, sums), noise)
        return Quantized(
            self._passing(flat, codes).view_as(z),
            ids.mT.reshape(*z.shape[:-1], -1),
            (flat - codes).square().mean(-1).view(z.shape[:-1]),
            vq.perplexity(counts).mean(),
        )

    def lookup(self, ids: Int[Tensor, "*batch Q"]) -> Float[Tensor, "*batch D"]:
        """Returns the codes of ``ids``."""
        return vq.ids_to_codes(ids, self.codebook)

    @torch.no_grad()
    def initialise(
        self, vectors: Float[Tensor, "*batch D"], noise: Float[Tensor, "Q K"] | None = None
    ) -> None:
        """Sets every code to one of ``vectors``, also if the codebook was initialised before.

        Args:
            vectors: Where to take the codes from.
            noise: Uniform numbers in [0, 1) that pick them.
        """
        slices = vq.split_vectors(vectors.flatten(0, -2), self.config.num_quantizers)
        self._store(self._fresh(slices, noise))
        self.initialised.fill_(True)

    def _passing(self, flat: Tensor, codes: Tensor) -> Tensor:
        """The codes, with a gradient for the vectors."""
        if self.config.gradient == "straight_through":
            return vq.straight_through(flat, codes)
        pairs = (torch.unflatten(x, -1, (self.config.num_quantizers, -1)) for x in (flat, codes))
        return vq.rotate_to_code(*pairs).flatten(-2)

    def _book(self) -> vq.Codebook:
        return vq.Codebook(self.codebook, self.counts, self.sums)

    def _candidates(self, slices: Tensor, noise: Tensor | None) -> Tensor:
        """Picks one vector of the batch, that of all processes, for every code."""
        uniform = self._picks() if noise is None else noise
        own, ranks = slices.shape[1], distributed.ranks()
        rows = (uniform * own * ranks).long().clamp(max=own * ranks - 1)
        rows = rows - distributed.rank() * own
        at = rows.clamp(0, own - 1).unsqueeze(-1).expand(-1, -1, slices.shape[-1])
        mine = ((rows >= 0) & (rows < own)).unsqueeze(-1)
        return distributed.total(torch.where(mine, torch.gather(slices, 1, at), 0.0))

    def _picks(self) -> Tensor:
        """Numbers in [0, 1) that spread evenly over codes and wander with the updates."""
        index = torch.arange(1, self.counts.numel() + 1, device=self.counts.device)
        turns = (index * GOLDEN + self.num_updates * SILVER).remainder(2**32)
        return (turns.to(self.counts.dtype) / 2**32).view(self.counts.shape)

    def _fresh(self, slices: Tensor, noise: Tensor | None) -> vq.Codebook:
        codes = self._candidates(slices, noise)
        vectors = slices.shape[1] * distributed.ranks()
        counts = torch.full_like(self.counts, vectors / self.config.num_codes)
        return vq.Codebook(codes, counts, codes * counts.unsqueeze(-1))

    @torch.no_grad()
    def _initialised_from(self, slices: Tensor, noise: Tensor | None) -> vq.Codebook:
        """Returns the codebook, or a fresh one if it never saw data; waits for no device."""
        fresh = self._fresh(slices, noise)
        pairs = zip(self._book(), fresh, strict=True)
        return vq.Codebook(*(torch.where(self.initialised, old, new) for old, new in pairs))

    @torch.no_grad()
    def _update(self, slices: Tensor, batch: vq.CodeStatistics, noise: Tensor | None) -> None:
        c = self.config
        book = vq.ema_update(self._book(), batch, c.decay, c.epsilon)
        self._store(vq.revive(book, self._candidates(slices, noise), c.revival_threshold))
        self.initialised.fill_(True)
        self.num_updates.add_(1)

    @torch.no_grad()
    def _store(self, book: vq.Codebook) -> None:
        self.codebook.copy_(book.codes)
        self.counts.copy_(book.counts)
        self.sums.copy_(book.sums)
