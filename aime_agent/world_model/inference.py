"""Inference at a frame: what observations say, and the belief that follows from it.

    context_t from o_{<=t};   slots_t, A_t from (o_t, h_t, slots^_t);   glimpse_t
    q(z_t | o_t, context_t, h_t, glimpse_t)

`perceive` needs no recurrence and runs once over all frames; `correct` is the one place where all
pillars meet. Pillars that are switched off are not computed: their evidence is empty.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.attention.slot_filter import SlotTokens
from aime_agent.functional.gaussian import DiagonalGaussian
from aime_agent.perception.causal_perceiver import MixerCache
from aime_agent.world_model.state import (
    Belief,
    Evidence,
    Look,
    TokenEvidence,
    WorldState,
    no_tokens,
)

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel


def perceive(
    model: "AimeWorldModel",
    frames: Float[Tensor, "B T C H W"],
    is_first: Bool[Tensor, "B T"],
    cache: MixerCache,
    update_codebook: bool = False,
) -> tuple[Evidence, TokenEvidence, MixerCache]:
    """Runs everything that needs no recurrence, once over all frames.

    Args:
        model: The world model.
        frames: Frames in [0, 1].
        is_first: Where an episode begins.
        cache: Ring of the mixer from earlier frames.
        update_codebook: Whether the tokenizer's codebook learns from these frames.
    """
    batch, length = frames.shape[:2]
    features = model.trunk(model.pixels.encoder_input(frames.flatten(0, 1)))
    context, tokens, cache = _context(model, features.mid, is_first, cache, update_codebook)
    nothing = features.high.new_empty(batch * length, 0, 0)
    slot_tokens = SlotTokens(nothing, nothing, nothing)
    if model.config.use_slots:
        coarse = features.mid if model.config.multi_resolution else None
        slot_tokens = model.slots.tokens(features.high, coarse)
    evidence = Evidence(
        model.encoder.precompute(features.low, context.flatten(0, 1)),
        slot_tokens.k,
        slot_tokens.v,
        slot_tokens.glimpse_values,
        context.flatten(0, 1),
    )
    shaped = Evidence(*(x.unflatten(0, (batch, length)) for x in evidence))
    return shaped, tokens, cache


def _context(
    model: "AimeWorldModel",
    features: Float[Tensor, "N C h w"],
    is_first: Bool[Tensor, "B T"],
    cache: MixerCache,
    update_codebook: bool,
) -> tuple[Float[Tensor, "B T c"], TokenEvidence, MixerCache]:
    """Pillar 1: tokens and context of all frames; empty ones where it is switched off."""
    shape = is_first.shape
    if model.config.context == "none":
        return features.new_empty(*shape, 0), no_tokens(features), cache
    tokens = model.perceiver.tokenizer.quantize(features, update_codebook=update_codebook)
    summaries = model.perceiver.summarise(tokens.codes).unflatten(0, shape)
    context, cache = model.perceiver.mix(summaries, is_first, cache)
    return context, TokenEvidence(*tokens), cache


def correct(
    model: "AimeWorldModel",
    state: WorldState,
    evidence: Evidence,
    is_first: Bool[Tensor, " B"],
    normal: Float[Tensor, "B z"] | None,
    attend: bool = True,
) -> Belief:
    """All pillars at one frame: slots, posterior, predicted context, attention.

    Args:
        model: The world model.
        state: State at t, reset where an episode begins.
        evidence: What o_t says by itself.
        is_first: Where an episode begins.
        normal: Noise of the posterior; None takes its mean.
        attend: Whether to predict and fuse attention maps, which nothing else here reads.
    """
    seen = _look(model, state, evidence, is_first)
    posterior, z = _posterior(model, evidence.posterior_input, state.hidden, seen.glimpse, normal)
    context_hat = model.dynamics.predict_context(state.hidden, z)
    belief = Belief(
        state=state,
        z=z,
        mean=posterior.mean,
        std=posterior.std,
        log_pi=None,
        context=evidence.context,
        context_hat=context_hat,
        log_attention_hat=None,
        log_evidence=seen.log_evidence,
        attention=None,
        attention_memory=None,
        shift=None,
        slots_hat=seen.slots_hat,
        slots=seen.slots,
        responsibilities=seen.responsibilities,
        ring=state.ring,
        ring_valid=state.ring_valid,
    )
    if not (attend and model.config.use_attention):
        return belief
    ahead = model.attention_prior.predict(state.attention, state.attention_memory, state.hidden, z)
    if seen.log_evidence is None:
        attention = ahead.log_probs.exp()
    else:
        attention = model.slots.fuse(seen.log_evidence, ahead.log_probs, state.hidden)
    return belief._replace(
        log_attention_hat=ahead.log_probs,
        attention=attention,
        attention_memory=ahead.memory,
        shift=ahead.shift,
    )


def _posterior(
    model: "AimeWorldModel",
    posterior_input: Float[Tensor, "B U"],
    hidden: Float[Tensor, "B h"],
    glimpse: Float[Tensor, "B G"] | None,
    normal: Float[Tensor, "B z"] | None,
) -> tuple[DiagonalGaussian, Float[Tensor, "B z"]]:
    """q(z) and z: its mean, or drawn; the second level's q follows the z₁ that was drawn."""
    seen = model.encoder.see(posterior_input, hidden, glimpse)
    q = model.encoder.read(seen)
    if model.ladder is not None:
        n = model.ladder.top_dim
        top = q.mean if normal is None else q.mean + q.std * normal[:, :n]
        deep = model.ladder.posterior(seen, top)
        q = DiagonalGaussian(*(torch.cat(pair, dim=-1) for pair in zip(q, deep, strict=True)))
    return q, q.mean if normal is None else q.mean + q.std * normal


def _look(
    model: "AimeWorldModel", state: WorldState, evidence: Evidence, is_first: Bool[Tensor, " B"]
) -> Look:
    """Slots at one frame, and what they point at."""
    if not model.config.use_slots:
        return Look(None, None, None, None, None)
    slots_hat = model.slots.transition(state.slots, state.hidden)
    tokens = SlotTokens(evidence.keys, evidence.values, evidence.glimpse_values)
    if not model.config.use_attention:
        return Look(slots_hat, *model.slots.bind(slots_hat, tokens, is_first), None, None)
    seen = model.slots.correct(slots_hat, tokens, is_first)
    return Look(slots_hat, seen.slots, seen.responsibilities, seen.log_attention, seen.glimpse)
