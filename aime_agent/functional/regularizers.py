"""Losses that shape attention maps, slots and features.

All but the Gram loss return one value per batch row.

    diversity    (1 / S(S-1)) Σ_{j≠k} cos²(p_j, p_k)        p_k normalised by mass over space
    movement     Huber₁(Δ̂ - sg(CoM(A_t) - CoM(A_{t-1})))    in grid cells, summed over x and y
    skill        1 - Σ movement(Δ̂) / Σ movement(0)
    attention    KL(A ‖ P'),  P' = (1 - ε) P + ε / R²       ε = 1 % bounds it at 10.7 nats
    transition   mean_d (ŝ_d - sg(s_d))²                    identity by index
    Gram         mean_ij (⟨f̂_i, f̂_j⟩ - sg⟨t̂_i, t̂_j⟩)²     over tokens i, j (Siméoni et al., 2025)

sg stops the gradient: without it a motionless map would be a perfect solution.

>>> disjoint = torch.eye(4).view(1, 4, 2, 2)
>>> slot_diversity(disjoint)
tensor([0.])
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import center_of_mass, to_cells


def slot_diversity(maps: Float[Tensor, "*batch S H W"]) -> Float[Tensor, "*batch"]:
    """Returns the mean squared cosine between maps of different slots: 0 disjoint, 1 equal."""
    slots = maps.shape[-3]
    unit = F.normalize(maps.flatten(-2), dim=-1)
    gram = unit @ unit.mT
    between = gram.square().sum((-2, -1)) - gram.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return between / max(slots * (slots - 1), 1)


def map_movement(maps: Float[Tensor, "B T H W"]) -> Float[Tensor, "B T-1 2"]:
    """Returns how far the centre of each map moved since the last one, (x, y) in cells."""
    return to_cells(center_of_mass(maps), maps.shape[-1]).diff(dim=1)


def movement_huber(
    predicted: Float[Tensor, "*batch 2"], actual: Float[Tensor, "*batch 2"], beta: float = 1.0
) -> Float[Tensor, "*batch"]:
    """Returns the Huber error of predicted shifts against stopped true ones, both in cells."""
    loss = F.smooth_l1_loss(predicted, actual.detach(), reduction="none", beta=beta)
    return loss.sum(-1)


def movement_skill(
    predicted: Float[Tensor, "*batch 2"],
    actual: Float[Tensor, "*batch 2"],
    include: Bool[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    """Returns 1 − Σ Huber(predicted) / Σ Huber(0): 1 perfect, 0 no better than a motionless map.

    Where nothing moved at all there is nothing to be better at, and the skill is 0.

    >>> moved = torch.tensor([[0.5, 0.0], [0.0, -0.5]])
    >>> movement_skill(0.5 * moved, moved, torch.tensor([True, True]))
    tensor(0.7500)
    """
    error = (movement_huber(predicted, actual) * include).sum()
    copy = (movement_huber(torch.zeros_like(actual), actual) * include).sum()
    return torch.where(copy > 0, 1 - error / copy.clamp_min(1e-12), 0.0)


def categorical_kl(
    maps: Float[Tensor, "*batch H W"],
    log_other: Float[Tensor, "*batch H W"],
    uniform_mix: float = 0.01,
) -> Float[Tensor, "*batch"]:
    """Returns KL(A ‖ P') in nats, with a little uniform mass mixed into P.

    Args:
        maps: Normalised map A.
        log_other: log P of the other map.
        uniform_mix: The share ε of the uniform map; 0 leaves P as it is.
    """
    if uniform_mix > 0:
        cells = maps.shape[-2] * maps.shape[-1]
        floor = log_other.new_full((), math.log(uniform_mix / cells))
        log_other = torch.logaddexp(log_other + math.log1p(-uniform_mix), floor)
    return (torch.xlogy(maps, maps.clamp_min(1e-12)) - maps * log_other).sum((-2, -1))


def balanced_attention_kl(
    maps: Float[Tensor, "*batch H W"],
    log_predicted: Float[Tensor, "*batch H W"],
    prior_weight: float = 0.8,
    uniform_mix: float = 0.01,
    free_nats: float = 0.0,
) -> Float[Tensor, "*batch"]:
    """Returns w KL(sg(A) ‖ P) + (1 - w) KL(A ‖ sg(P)), each not below ``free_nats``.

    The first part teaches the prediction, the second keeps the inferred map predictable.
    """
    teach = categorical_kl(maps.detach(), log_predicted, uniform_mix)
    keep = categorical_kl(maps, log_predicted.detach(), uniform_mix)
    teach, keep = teach.clamp_min(free_nats), keep.clamp_min(free_nats)
    return prior_weight * teach + (1 - prior_weight) * keep


def slot_transition_error(
    predicted: Float[Tensor, "*batch S D"], corrected: Float[Tensor, "*batch S D"]
) -> Float[Tensor, "*batch"]:
    """Returns the mean squared distance to the stopped corrected slots, slot by slot."""
    return (predicted - corrected.detach()).square().mean((-2, -1))


def gram_loss(
    student: Float[Tensor, "B N D"],
    teacher: Float[Tensor, "B N D"],
    *,
    apply_norm: bool = True,
    img_level: bool = True,
    remove_neg: bool = True,
    remove_only_teacher_neg: bool = False,
) -> Float[Tensor, ""]:
    """Returns the mean squared difference of the tokens' similarities, the teacher's stopped.

    It holds the geometry of a feature map (which places look alike), not the features: turning
    all of them together costs nothing.

    Args:
        student: Features of N tokens per image.
        teacher: Those of a slow copy, for the same tokens.
        apply_norm: Compare cosines, not inner products.
        img_level: Within each image; otherwise between all B·N tokens, at N·B times the memory.
        remove_neg: Count negative similarities of both sides as 0.
        remove_only_teacher_neg: Count as 0, on both sides, the pairs that the teacher holds
            negative.

    Raises:
        ConfigError: both ways to remove negatives are asked for.

    >>> corner = torch.eye(2)[None]
    >>> gram_loss(torch.ones(1, 2, 2), corner)
    tensor(0.5000)
    """
    if remove_neg and remove_only_teacher_neg:
        raise ConfigError(
            "gram_loss: remove_neg and remove_only_teacher_neg exclude each other, found both"
        )
    mine, theirs = (_similarities(x, apply_norm, img_level) for x in (student, teacher.detach()))
    if remove_neg:
        mine, theirs = mine.clamp_min(0), theirs.clamp_min(0)
    elif remove_only_teacher_neg:
        mine, theirs = mine.where(theirs >= 0, 0.0), theirs.clamp_min(0)
    return (mine - theirs).square().mean()


def _similarities(
    features: Float[Tensor, "B N D"], apply_norm: bool, img_level: bool
) -> Float[Tensor, "*g M M"]:
    features = features if img_level else features.flatten(0, 1)
    features = F.normalize(features, dim=-1) if apply_norm else features
    return features @ features.mT
