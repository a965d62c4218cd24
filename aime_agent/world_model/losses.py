"""The loss terms of one sequence, each ``[B, T]`` (or per frame) until its final mean.

Latent KL, balanced (Hafner et al., 2023) on the mixture bound U (Hershey & Olsen, 2007), with free
bits outside the log-sum:

    KL = max(f, U(sg q ‖ p)) + 0.1 max(f, U(q ‖ sg p)),   U_τ = −τ log Σ_k π_k exp(−KL_k/τ)

Consistency: k open-loop prior steps from every n-th frame with the true actions, the same U
against the stopped posterior. Gram (optional): similarities between places in the trunk's maps
against those of a slow copy of the model (Siméoni et al., 2025).
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from aime_agent import distributed
from aime_agent.functional.regularizers import (
    balanced_attention_kl,
    categorical_kl,
    gram_loss,
    map_movement,
    movement_huber,
    slot_diversity,
    slot_transition_error,
)
from aime_agent.functional.saliency import change_maps
from aime_agent.functional.spatial import coordinate_grid
from aime_agent.layers.conv import patchify
from aime_agent.representation.dpgmm_prior import MixturePrior
from aime_agent.representation.mixture import usage_gap
from aime_agent.world_model.state import Belief, TokenEvidence

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel
    from aime_agent.world_model.sequence import Filtered


class SequenceData(NamedTuple):
    """The sequence the losses are about; rewards and ends may be absent."""

    observations: Float[Tensor, "B T C H W"]
    actions: Float[Tensor, "B T A"]
    is_first: Bool[Tensor, "B T"]
    rewards: Float[Tensor, "B T"] | None = None
    terminated: Bool[Tensor, "B T"] | None = None


def latent_kl(
    prior: MixturePrior,
    mean: Float[Tensor, "*b z"],
    std: Float[Tensor, "*b z"],
    free_nats: float,
    representation_weight: float = 0.1,
    tau: float = 1.0,
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Returns the balanced KL and, for logging, the plain bound U."""
    forward = prior.kl_bound(mean.detach(), std.detach(), tau)
    backward = prior.detach().kl_bound(mean, std, tau)
    balanced = forward.clamp(min=free_nats) + representation_weight * backward.clamp(min=free_nats)
    return balanced, forward.detach()


def consistency_loss(
    model: "AimeWorldModel", beliefs: Belief, data: SequenceData
) -> Float[Tensor, ""]:
    """U of the posterior against the prior after 1..k open-loop steps of one episode.

    Args:
        model: The world model.
        beliefs: Stacked inferred beliefs ``[B, T, ...]``.
        data: The sequence; where an episode begins, the steps of the one before end.
    """
    steps, every = model.config.consistency_steps, model.config.consistency_every
    actions, floor = data.actions, model.config.free_nats
    starts = torch.arange(0, actions.shape[1] - steps, every, device=actions.device)
    episode = data.is_first.cumsum(1)

    def at(x: Tensor | None, offset: int) -> Tensor:
        if x is None:
            raise ValueError("beliefs: a posterior is needed, found a dream")
        return x[:, starts + offset].flatten(0, 1)

    hidden, cell = at(beliefs.state.hidden, 0), at(beliefs.state.cell, 0)
    z, context_hat = at(beliefs.z, 0), at(beliefs.context_hat, 0)
    fed = at(model.lstm_context(beliefs.context, beliefs.context_hat), 0)
    total = actions.new_zeros(())
    for k in range(1, steps + 1):
        hidden, cell = model.dynamics.step(hidden, cell, z, fed, at(actions, k - 1))
        action = at(actions, k - 1) if model.config.action_in_prior else None
        prior = model.prior_at(hidden, context_hat, action, at(beliefs.z, k))
        target_mean, target_std = at(beliefs.mean, k).detach(), at(beliefs.std, k).detach()
        bound = prior.kl_bound(target_mean, target_std).clamp(min=floor)
        total = total + masked_mean(bound, at(episode, k) == at(episode, 0))
        z = model.draw(prior, hidden, torch.randn_like(z), torch.rand_like(z[:, 0]))
        fed = context_hat = model.dynamics.predict_context(hidden, z)
    return total / steps


def reconstruction_error(
    model: "AimeWorldModel", patches: Tensor, observations: Float[Tensor, "B T C H W"]
) -> Float[Tensor, "B T"]:
    """Negative log likelihood of the frames, summed over pixels, in nats.

    That of the Gaussian leaves out its constant; that of the logistic is one of 8-bit pixels.
    """
    frames, patch = observations.flatten(0, 1), model.config.patch
    if model.likelihood is not None:
        background = patchify(model.pixels.mean[None], patch)
        nats = model.likelihood(patches + background, patchify(frames, patch))
        return torch.unflatten(nats, 0, observations.shape[:2])
    squared = (patches - patchify(model.pixels.center(frames), patch)).square().flatten(1).sum(-1)
    return (0.5 * model.pixels.precision * squared).unflatten(0, observations.shape[:2])


def masked_mean(
    x: Float[Tensor, "*b"], keep: Bool[Tensor, "*b"] | Float[Tensor, "*b"]
) -> Float[Tensor, ""]:
    """Mean of x over the rows to keep (0 if there is none)."""
    weight = keep.to(x.dtype)
    return (x * weight).sum() / distributed.share(weight.sum())


def perceiver_terms(
    model: "AimeWorldModel", data: SequenceData, tokens: TokenEvidence, context: Tensor
) -> dict[str, Tensor]:
    """Token reconstruction and next-token prediction on every n-th frame, and commitment."""
    batch, length = data.actions.shape[:2]
    n = torch.arange(batch * length, device=context.device)
    every = model.config.token_every
    chosen = n[(n // length + n) % every == 0] if every > 1 else n
    tokenizer = model.perceiver.tokenizer
    decoded = tokenizer.decode_codes(tokens.codes[chosen])
    target = model.pixels.center(data.observations.flatten(0, 1)[chosen])
    error = 0.5 * model.pixels.precision * (decoded - target).square().flatten(1).sum(-1)
    terms = {"token_reconstruction": error.mean(), "commitment": tokens.commitment.mean()}
    if length == 1:
        return terms
    pairs = chosen[chosen % length < length - 1]
    predicted = model.perceiver.predictor.loss(
        context.flatten(0, 1)[pairs], data.actions.flatten(0, 1)[pairs], tokens.ids[pairs + 1]
    )
    same_episode = ~data.is_first.flatten(0, 1)[pairs + 1]
    return {**terms, "token_prediction": masked_mean(predicted, same_episode)}


def control_terms(
    model: "AimeWorldModel", data: SequenceData, features: Tensor
) -> dict[str, Tensor]:
    """Reward (masked where an episode begins) and continuation, if the data has them."""
    terms: dict[str, Tensor] = {}
    if data.rewards is not None:
        loss = model.reward_head.loss(model.reward_head(features), data.rewards)
        terms["reward"] = masked_mean(loss, ~data.is_first)
    if data.terminated is not None:
        logit = model.continuation_head(features)
        target = (~data.terminated).to(logit.dtype)
        terms["continuation"] = F.binary_cross_entropy_with_logits(logit, target)
    return terms


def attention_terms(
    model: "AimeWorldModel", data: SequenceData, beliefs: Belief
) -> dict[str, Tensor]:
    """Predicted against seen attention, and its movement; none without maps or without slots."""
    seen, hat, shift = beliefs.log_evidence, beliefs.log_attention_hat, beliefs.shift
    if seen is None or hat is None or shift is None:
        return {}
    kl = balanced_attention_kl(seen.exp(), hat, model.config.attention_prior_weight)
    maps = torch.cat([beliefs.state.attention[:, :1], seen.exp()], dim=1)
    moved = movement_huber(shift, map_movement(maps))
    return {"attention_kl": kl.mean(), "movement": masked_mean(moved, ~data.is_first)}


def slot_terms(model: "AimeWorldModel", data: SequenceData, beliefs: Belief) -> dict[str, Tensor]:
    """Slots' transition, pixels and diversity; none without slots."""
    slots, slots_hat, shares = beliefs.slots, beliefs.slots_hat, beliefs.responsibilities
    if slots is None or slots_hat is None or shares is None:
        return {}
    side = model.config.attention_resolution
    moved = slot_transition_error(slots_hat, slots)
    return {
        "slot_transition": masked_mean(moved, ~data.is_first),
        "slot_reconstruction": slot_pixels(model, data, slots),
        "diversity": slot_diversity(shares.unflatten(-1, (side, side))).mean(),
    }


def slot_pixels(
    model: "AimeWorldModel", data: SequenceData, slots: Float[Tensor, "B T S D"]
) -> Float[Tensor, ""]:
    """Error of the slot decoder on some pixels of every n-th frame, in nats per frame.

    With ``slot_motion`` = λ above 0 pixels weigh by `motion_weights`.
    """
    c = model.config
    batch, length = data.actions.shape[:2]
    n = torch.arange(batch * length, device=slots.device)
    chosen = n[(n // length + n) % c.slot_every == 0] if c.slot_every > 1 else n
    total = c.image_size**2
    count = min(c.slot_pixels, total)
    where = torch.randperm(total, device=slots.device)[:count]
    grid = coordinate_grid(c.image_size, c.image_size, slots).flatten(0, 1)
    out = model.slot_decoder(slots.flatten(0, 1)[chosen], grid[where])
    target = model.pixels.center(data.observations.flatten(0, 1)[chosen])
    wanted = target.flatten(2)[..., where].mT
    squared = (out.rgb - wanted).square().sum(-1)
    if c.slot_motion:
        squared = squared * motion_weights(data, chosen, c.slot_motion)[:, where]
    return (0.5 * model.pixels.precision * squared.sum(-1) * (total / count)).mean()


def gram_term(
    model: "AimeWorldModel", teacher: "AimeWorldModel", data: SequenceData
) -> Float[Tensor, ""]:
    """Gram loss of the trunk's three maps, summed, on every n-th frame.

    Args:
        model: The student, which gets the gradient.
        teacher: Its running average; it is read without a graph.
        data: The sequence.
    """
    every, length = model.config.gram_every, data.actions.shape[1]
    n = torch.arange(data.is_first.numel(), device=data.actions.device)
    frames = data.observations.flatten(0, 1)[n[(n // length + n) % every == 0]]
    mine = model.trunk(model.pixels.encoder_input(frames))
    with torch.no_grad():
        theirs = teacher.trunk(teacher.pixels.encoder_input(frames))
    pairs = ([_places(x) for x in maps] for maps in zip(mine, theirs, strict=True))
    return torch.stack([gram_loss(student, known) for student, known in pairs]).sum()


def _places(maps: Float[Tensor, "N C H W"], most: int = 8) -> Float[Tensor, "N M C"]:
    """Flattens maps to at most 64 places: a Gram matrix has the square of that."""
    if max(maps.shape[-2:]) > most:
        maps = F.adaptive_avg_pool2d(maps, most)
    return maps.flatten(2).mT


@torch.no_grad()
def motion_weights(
    data: SequenceData, chosen: Int[Tensor, " N"], strength: float
) -> Float[Tensor, "N P"]:
    """Weights of the pixels of some frames, (1 + λ d / mean d) / (1 + λ), which have mean 1.

    d = |x_t - x_{t-1}|, averaged over channels. A frame without one before it in its episode, or
    where nothing moved, weighs all pixels alike.

    Args:
        data: The sequence.
        chosen: Which of its B·T frames.
        strength: λ.
    """
    x, length = data.observations, data.actions.shape[1]
    frames = x.flatten(0, 1)
    begins = data.is_first.flatten()[chosen] | (chosen % length == 0)
    moved = (frames[chosen] - frames[(chosen - 1).clamp_min(0)]).abs().mean(1).flatten(1)
    mean = moved.mean(1, keepdim=True)
    flat = begins[:, None] | (mean <= 0)
    share = torch.where(flat, 1.0, moved / mean.clamp_min(1e-12))
    return (1 + strength * share) / (1 + strength)


def attention_target(
    model: "AimeWorldModel", data: SequenceData, beliefs: Belief
) -> Float[Tensor, "B T"]:
    """KL(S ‖ A_slots): what changes teaches where to look, frame by frame, in nats."""
    if beliefs.log_evidence is None:
        raise ValueError("beliefs: inferred maps are needed, found none")
    side = model.config.attention_resolution
    target = change_maps(data.observations, model.pixels.mean, data.is_first, side)
    return categorical_kl(target, beliefs.log_evidence)


def sequence_terms(
    model: "AimeWorldModel", data: SequenceData, passed: "Filtered", tau: float
) -> tuple[dict[str, Tensor], Float[Tensor, "B T"]]:
    """All terms by their names in `TERMS`, and the plain KL bound for logging."""
    c, beliefs, prior = model.config, passed.beliefs, passed.prior
    if beliefs.mean is None or beliefs.std is None:
        raise ValueError("beliefs: a posterior is needed, found a dream")
    balanced, bound = latent_kl(
        prior, beliefs.mean, beliefs.std, c.free_nats, c.representation_weight, tau
    )
    terms = {
        "reconstruction": reconstruction_error(model, passed.patches, data.observations),
        "kl_latent": balanced,
        "hierarchical_kl": model.prior.regulariser(prior),
        "usage": usage_gap(prior.responsibilities(beliefs.mean.detach(), beliefs.std.detach())),
        **control_terms(model, data, beliefs.features),
        **attention_terms(model, data, beliefs),
        **slot_terms(model, data, beliefs),
    }
    if c.context != "none":
        predicted = (beliefs.context_hat - beliefs.context.detach()).square().mean(-1)
        terms["context_prediction"] = predicted
        terms |= perceiver_terms(model, data, passed.tokens, beliefs.context)
    if c.consistency_steps and data.actions.shape[1] > c.consistency_steps:
        terms["consistency"] = consistency_loss(model, beliefs, data)
    if c.attention_target == "change":
        terms["attention_target"] = attention_target(model, data, beliefs)
    return terms, bound
