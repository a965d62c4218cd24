"""Vector quantisation with an exponential-moving-average codebook (van den Oord et al., 2017).

    id(z)  = argmin_k ‖z − e_k‖² = argmin_k (‖e_k‖² − 2 z·e_k)
    N_k    ← γ N_k + (1 − γ) n_k          n_k: vectors of the batch that chose code k
    m_k    ← γ m_k + (1 − γ) s_k          s_k: their sum
    N̂_k    = (N_k + ε) / (Σ_j N_j + K ε) · Σ_j N_j
    e_k    = m_k / N̂_k
    perplexity = exp(−Σ_k p_k log p_k),   p_k = n_k / Σ_j n_j

Shapes: Q product quantisers (independent codebooks on slices of the vector), N vectors, K codes,
d = width of one slice.

>>> import torch
>>> perplexity(torch.tensor([3.0, 0.0, 0.0]))
tensor(1.)
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

# Vectors shorter than this have no direction.
TINY = 1e-6
# Distances of this many vectors stay in the cache; all at once took up to three times as long.
ROWS_AT_ONCE = 512


class Codebook(NamedTuple):
    """A codebook and the moving averages it is made of."""

    codes: Float[Tensor, "Q K d"]
    """e_k."""
    counts: Float[Tensor, "Q K"]
    """N_k."""
    sums: Float[Tensor, "Q K d"]
    """m_k."""


class CodeStatistics(NamedTuple):
    """What a batch says about each code; sums over processes may be taken of both."""

    counts: Float[Tensor, "Q K"]
    """n_k."""
    sums: Float[Tensor, "Q K d"]
    """s_k."""


def nearest_code(
    vectors: Float[Tensor, "Q N d"], codes: Float[Tensor, "Q K d"]
) -> Int[Tensor, "Q N"]:
    """Returns the index of the closest code; ‖z‖² is left out since it moves no minimum."""
    norms, keys = codes.square().sum(-1).unsqueeze(1), codes.mT
    return torch.cat(
        [
            torch.baddbmm(norms, part, keys, alpha=-2.0).argmin(-1)
            for part in vectors.split(ROWS_AT_ONCE, dim=1)
        ],
        dim=1,
    )


def straight_through(
    continuous: Float[Tensor, "*shape"], quantised: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Returns the quantised values with the gradient of the continuous ones."""
    return continuous + (quantised - continuous).detach()


def rotate_to_code(
    continuous: Float[Tensor, "*batch d"], quantised: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch d"]:
    """Returns the quantised vectors; their gradient arrives turned and scaled (Fifty et al., 2024).

        code = sg(‖q‖ / ‖z‖ · R) z,    R = I − 2 r rᵀ + 2 q̂ ẑᵀ,    r = (ẑ + q̂) / ‖ẑ + q̂‖

    R turns z onto its code q and both are held fixed, so ∂/∂z = ‖q‖ / ‖z‖ · Rᵀ ∂/∂code: inside a cell
    gradients differ with the place of z, where straight-through copies one to all. Where z or q is 0
    there is no direction, and the gradient is copied.
    """
    z, q = continuous.detach(), quantised.detach()
    ratio = q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True).clamp_min(TINY)
    source, target = F.normalize(z, dim=-1), F.normalize(q, dim=-1)
    between = F.normalize(source + target, dim=-1)

    def project(onto: Tensor) -> Tensor:
        return (continuous * onto).sum(-1, keepdim=True)

    turned = continuous - 2 * project(between) * between + 2 * project(source) * target
    free = (z.norm(dim=-1, keepdim=True) > TINY) & (q.norm(dim=-1, keepdim=True) > TINY)
    # q itself is added, not the turned vector, so that values do not depend on its rounding.
    return straight_through(torch.where(free, ratio * turned, continuous), q)


def split_vectors(
    vectors: Float[Tensor, "N D"], num_quantizers: int
) -> Float[Tensor, "{num_quantizers} N d"]:
    """Cuts each vector into ``num_quantizers`` slices of equal width."""
    return torch.unflatten(vectors, -1, (num_quantizers, -1)).transpose(0, 1)


def ids_to_codes(ids: Int[Tensor, "*batch Q"], codes: Float[Tensor, "Q K d"]) -> Tensor:
    """Looks up one code per quantiser and joins them: ``[*batch, Q·d]``.

    >>> import torch
    >>> book = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> ids_to_codes(torch.tensor([1, 0]), book)
    tensor([2., 3.])
    """
    first_rows = torch.arange(codes.shape[0], device=ids.device) * codes.shape[1]
    return F.embedding(ids + first_rows, codes.flatten(0, 1)).flatten(-2)


def codes_to_ids(vectors: Float[Tensor, "N D"], codes: Float[Tensor, "Q K d"]) -> Tensor:
    """Returns the nearest code of every slice: ``[N, Q]``; inverts `ids_to_codes`."""
    return nearest_code(split_vectors(vectors, codes.shape[0]), codes).mT


def code_counts(ids: Int[Tensor, "Q N"], codes: Float[Tensor, "Q K d"]) -> Float[Tensor, "Q K"]:
    """Counts how often each of the codes was chosen, in their dtype."""
    rows = _flat_rows(ids, codes)
    counts = codes.new_zeros(codes.shape[0] * codes.shape[1])
    return counts.index_add(0, rows, codes.new_ones(rows.shape)).view(codes.shape[:2])


def id_counts(
    ids: Int[Tensor, "Q N"], num_codes: int, dtype: torch.dtype
) -> Float[Tensor, "Q {num_codes}"]:
    """Counts how often each of ``num_codes`` ids was chosen, where there is no codebook.

    >>> id_counts(torch.tensor([[2, 0, 2]]), 3, torch.float32)
    tensor([[1., 0., 2.]])
    """
    counts = torch.zeros(ids.shape[0], num_codes, dtype=dtype, device=ids.device)
    return counts.scatter_add(1, ids, torch.ones_like(ids, dtype=dtype))


def code_sums(
    vectors: Float[Tensor, "Q N d"], ids: Int[Tensor, "Q N"], codes: Float[Tensor, "Q K d"]
) -> Float[Tensor, "Q K d"]:
    """Sums the vectors of each code."""
    sums = torch.zeros_like(codes).flatten(0, 1)
    rows = _flat_rows(ids, codes)
    return sums.index_add(0, rows, vectors.reshape(-1, codes.shape[-1])).view_as(codes)


def perplexity(counts: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Returns exp of the entropy of the code usage: 1 (one code) to K (all equally)."""
    probs = counts / counts.sum(-1, keepdim=True).clamp_min(1.0)
    return torch.special.entr(probs).sum(-1).exp()


def ema_update(
    book: Codebook, batch: CodeStatistics, decay: float, epsilon: float = 1e-5
) -> Codebook:
    """Returns the codebook after one moving-average step with Laplace-smoothed counts.

    Args:
        book: The codebook before.
        batch: Counts and sums of the new batch.
        decay: γ, the share that is kept.
        epsilon: ε, what every code is granted.
    """
    counts = torch.lerp(batch.counts, book.counts, decay)
    sums = torch.lerp(batch.sums, book.sums, decay)
    total = counts.sum(-1, keepdim=True)
    smoothed = (counts + epsilon) / (total + counts.shape[-1] * epsilon) * total
    return Codebook(sums / smoothed.unsqueeze(-1), counts, sums)


def dead_codes(counts: Float[Tensor, "Q K"], threshold: float) -> Bool[Tensor, "Q K"]:
    """True where a code is chosen less than ``threshold`` times as often as the average code."""
    return counts < threshold * counts.mean(-1, keepdim=True)


def revive(book: Codebook, candidates: Float[Tensor, "Q K d"], threshold: float) -> Codebook:
    """Puts ``candidates[q, k]`` in place of each dead code, as if it had been used on average.

    Args:
        book: The codebook.
        candidates: One vector of the batch for every code, used where that code is dead.
        threshold: See `dead_codes`; 0 revives nothing.
    """
    dead = dead_codes(book.counts, threshold)
    counts = torch.where(dead, book.counts.mean(-1, keepdim=True), book.counts)
    mask = dead.unsqueeze(-1)
    codes = torch.where(mask, candidates, book.codes)
    sums = torch.where(mask, candidates * counts.unsqueeze(-1), book.sums)
    return Codebook(codes, counts, sums)


def _flat_rows(ids: Int[Tensor, "Q N"], codes: Float[Tensor, "Q K d"]) -> Int[Tensor, "J"]:
    """Numbers the codes of all quantisers through."""
    first_rows = torch.arange(codes.shape[0], device=ids.device) * codes.shape[1]
    return (ids + first_rows.unsqueeze(1)).flatten()
