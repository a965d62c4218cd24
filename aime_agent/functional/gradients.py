"""Rotation of task gradients toward a consensus, in Gram form (the maths of RGB).

With unit gradients ĝᵢ, a unit consensus d and cᵢ = ⟨ĝᵢ, d⟩ = cos θᵢ, task i turns by αᵢ toward d:

    rᵢ(α) = aᵢ ĝᵢ + bᵢ d,    aᵢ = sin(θᵢ − αᵢ) / sin θᵢ,    bᵢ = sin αᵢ / sin θᵢ

    J(α) = 1/(M(M−1)) Σ_{i<j} (1 − rᵢ·rⱼ) + λ/(2M) Σᵢ (1 − cos αᵢ)

Every rᵢ lies in the span of the gradients and d, so J needs only the M × M matrix of inner
products and the M cosines: nothing here ever sees a parameter. Reconstructed from "Preserving
Gradient Harmony: A Rotation-Based Gradient Balancing for Multi-Task Conflict Remedy"
(OpenReview l0QAezg8HX) and its reviews. M is the number of tasks; everything is float64.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

NEGLIGIBLE = 1e-6


class UnitGram(NamedTuple):
    """All that the rotation needs to know of M gradients and their consensus."""

    inner: Float64[Tensor, "M M"]
    """⟨ĝᵢ, ĝⱼ⟩; rows and columns of inactive tasks are 0."""
    cosines: Float64[Tensor, " M"]
    """⟨ĝᵢ, d⟩."""
    active: Bool[Tensor, " M"]
    """Tasks that take part at all."""
    free: Bool[Tensor, " M"]
    """Active tasks that may turn: neither along d nor against it."""


class Slerp(NamedTuple):
    """Coefficients of rᵢ on ĝᵢ and on d."""

    own: Float64[Tensor, " M"]
    pull: Float64[Tensor, " M"]


class Consensus(NamedTuple):
    """The new consensus d' = Σ eᵢ ĝᵢ + f d, written on the unit gradients and the old d."""

    tasks: Float64[Tensor, " M"]
    previous: Float64[Tensor, ""]


def unit_consensus(
    inner: Float64[Tensor, "M M"],
    cosines: Float64[Tensor, " M"],
    weights: Float64[Tensor, " M"],
    momentum: Float64[Tensor, ""],
) -> Consensus:
    """Returns d' = normalise(μ d + (1 − μ) y) with y = normalise(Σ wᵢ ĝᵢ).

    Args:
        inner: Inner products of the unit gradients.
        cosines: ⟨ĝᵢ, d⟩ with the old consensus d.
        weights: Vote of each task; 0 leaves it out.
        momentum: μ; 0 where there is no old consensus.

    Where the votes cancel, y is 0 and d stays; where nothing is left, the result is 0.
    """
    vote = weights * _inverse((weights @ inner @ weights).clamp_min(0).sqrt())
    there = (vote != 0).any().to(inner.dtype)
    overlap = vote @ cosines
    keep, add = momentum, (1 - momentum) * there
    length = (keep**2 + add**2 + 2 * keep * add * overlap).clamp_min(0).sqrt()
    scale = _inverse(length)
    return Consensus(add * scale * vote, keep * scale)


def slerp(alpha: Float64[Tensor, " M"], gram: UnitGram) -> Slerp:
    """Returns aᵢ and bᵢ; tasks that are not free keep their own direction."""
    theta = gram.cosines.clamp(-1, 1).arccos()
    sine = torch.where(gram.free, theta.sin(), 1.0)
    own = torch.where(gram.free, (theta - alpha).sin() / sine, gram.active.to(alpha.dtype))
    return Slerp(own, torch.where(gram.free, alpha.sin() / sine, 0.0))


def rotation_objective(
    alpha: Float64[Tensor, " M"], gram: UnitGram, lambd: float
) -> Float64[Tensor, ""]:
    """Returns J(α): disagreement of the rotated gradients plus distance from their origins."""
    own, pull = slerp(alpha, gram)
    count = gram.active.sum().to(alpha.dtype)
    total = own @ gram.inner @ own + 2 * pull.sum() * (own @ gram.cosines) + pull.sum() ** 2
    disagreement = (count * count - total) / (2 * _pairs(count))
    turned = torch.where(gram.free, 1 - alpha.cos(), 0.0).sum()
    return disagreement + lambd / 2 * turned / count.clamp_min(1)


def rotation_gradient(
    alpha: Float64[Tensor, " M"], gram: UnitGram, lambd: float
) -> Float64[Tensor, " M"]:
    """Returns ∂J/∂αᵢ = −⟨rᵢ', Σⱼ rⱼ⟩ / (M(M−1)) + λ/(2M) sin αᵢ."""
    own, pull = slerp(alpha, gram)
    count = gram.active.sum().to(alpha.dtype)
    theta = gram.cosines.clamp(-1, 1).arccos()
    sine = torch.where(gram.free, theta.sin(), 1.0)
    with_own = gram.inner @ own + pull.sum() * gram.cosines
    with_pull = own @ gram.cosines + pull.sum()
    turn = (alpha.cos() * with_pull - (theta - alpha).cos() * with_own) / sine
    slope = lambd / 2 * alpha.sin() / count.clamp_min(1) - turn / _pairs(count)
    return torch.where(gram.free, slope, 0.0)


def solve_angles(
    start: Float64[Tensor, " M"], gram: UnitGram, *, lambd: float, steps: int, lr: float
) -> Float64[Tensor, " M"]:
    """Descends J from ``start`` for a few steps.

    Angles stay in [0, min(θᵢ, π/2)]: beyond θᵢ a gradient would turn past the consensus, beyond
    π/2 against itself.

    >>> inner = torch.eye(2, dtype=torch.float64)
    >>> yes = torch.tensor([True, True])
    >>> gram = UnitGram(inner, inner.new_full((2,), 0.5**0.5), yes, yes)
    >>> solve_angles(inner.new_zeros(2), gram, lambd=1.0, steps=300, lr=0.2).rad2deg()
    tensor([36.3752, 36.3752], dtype=torch.float64)
    """
    most = gram.cosines.clamp(-1, 1).arccos().clamp_max(math.pi / 2)
    most = torch.where(gram.free, most, 0.0)
    alpha = start.clamp_min(0).minimum(most)
    for _ in range(steps):
        alpha = (alpha - lr * rotation_gradient(alpha, gram, lambd)).clamp_min(0).minimum(most)
    return alpha


def dual_cone_multipliers(
    inner: Float64[Tensor, "M M"], projections: Float64[Tensor, " M"]
) -> Float64[Tensor, " M"]:
    """Returns λ ≥ 0 such that v + Σ λᵢ ĝᵢ is the vector nearest to v that opposes no ĝᵢ.

    Args:
        inner: Inner products ⟨ĝᵢ, ĝⱼ⟩.
        projections: ⟨ĝᵢ, v⟩.

    Non-negative least squares by the active-set method of Lawson and Hanson (1974): tasks enter
    one by one, the most violated first, and leave when their multiplier would turn negative.
    """
    count = len(projections)
    multipliers = torch.zeros_like(projections)
    chosen = torch.zeros_like(projections, dtype=torch.bool)
    for _ in range(3 * count):
        violation = -(projections + inner @ multipliers)
        violation[chosen] = -torch.inf
        if violation.max() <= 1e-12:
            break
        chosen[violation.argmax()] = True
        multipliers = _retreat(inner, projections, multipliers, chosen)
        chosen = multipliers > 0
    return multipliers


def _retreat(
    inner: Float64[Tensor, "M M"],
    projections: Float64[Tensor, " M"],
    multipliers: Float64[Tensor, " M"],
    chosen: Bool[Tensor, " M"],
) -> Float64[Tensor, " M"]:
    """Solves on the chosen tasks; walks there only as far as all multipliers stay positive."""
    for _ in range(len(projections)):
        index = chosen.nonzero().squeeze(-1)
        target = torch.zeros_like(multipliers)
        target[index] = torch.linalg.lstsq(inner[index][:, index], -projections[index]).solution
        falling = chosen & (target <= 0)
        if not falling.any():
            return target
        steps = multipliers[falling] / (multipliers - target)[falling].clamp_min(1e-300)
        multipliers = multipliers + steps.min() * (target - multipliers)
        chosen = chosen & (multipliers > 1e-14)
        multipliers = torch.where(chosen, multipliers, 0.0)
    return multipliers


def _pairs(count: Float64[Tensor, ""]) -> Float64[Tensor, ""]:
    return (count * (count - 1)).clamp_min(1)


def _inverse(length: Float64[Tensor, ""]) -> Float64[Tensor, ""]:
    """1 / length, or 0 where the length is rounding error."""
    return torch.where(length > NEGLIGIBLE, 1 / length.clamp_min(NEGLIGIBLE), 0.0)
