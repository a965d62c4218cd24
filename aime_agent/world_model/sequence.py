"""Passes over whole sequences: filter, losses, outputs.

Only the recurrence runs in the loop over time; convolutions, tokenizer, Perceiver, prior, decoder,
heads and losses run once over all frames.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent import precision
from aime_agent.functional.likelihood import bits_per_dimension
from aime_agent.layers.conv import unpatchify
from aime_agent.optimization.loss_aggregator import TaskLosses, combine
from aime_agent.perception.causal_perceiver import MixerCache
from aime_agent.representation.dpgmm_prior import MixturePrior
from aime_agent.shapes import validate_shape
from aime_agent.world_model.adversarial import Discriminators, adversarial_terms
from aime_agent.world_model.diagnostics import diagnose
from aime_agent.world_model.losses import SequenceData, gram_term, sequence_terms
from aime_agent.world_model.outputs import WorldModelOutput
from aime_agent.world_model.seeds import seed_weights
from aime_agent.world_model.state import (
    Belief,
    TokenEvidence,
    WorldState,
    map_tree,
    stack_beliefs,
    where_first,
)

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel


class Filtered(NamedTuple):
    """Beliefs of a sequence, ``[B, T, ...]``, and what else the losses need."""

    beliefs: Belief
    tokens: TokenEvidence
    prior: MixturePrior
    patches: Float[Tensor, "N P h w"]
    """Decoded frames in patch space, centred."""
    last: Belief
    """Belief at the last frame, with the mixer's ring, to go on from."""


class FitPass(NamedTuple):
    """One training pass."""

    losses: TaskLosses
    beliefs: Belief
    metrics: dict[str, Tensor]
    patches: Float[Tensor, "N P h w"]
    """Decoded frames in patch space, centred, without a graph: what discriminators learn from."""


def filter_sequence(
    model: "AimeWorldModel",
    frames: Float[Tensor, "B T C H W"],
    actions: Float[Tensor, "B T A"],
    is_first: Bool[Tensor, "B T"],
    normal: Float[Tensor, "B T z"] | None = None,
    state: WorldState | None = None,
    update_codebook: bool = False,
) -> tuple[Belief, Belief, TokenEvidence]:
    """Infers the belief at every frame.

    Args:
        model: The world model.
        frames: Frames in [0, 1].
        actions: a_t, chosen after o_t.
        is_first: Where episodes begin.
        normal: Noise of the posterior; None takes its mean.
        state: State before the first frame; the initial one if absent.
        update_codebook: Whether the codebook learns.

    Returns:
        Beliefs stacked over time, the last one by itself (with the mixer's ring), and the tokens.
    """
    batch = frames.shape[0]
    initial = model.initial_state(batch)
    state = initial if state is None else state
    cache = MixerCache(state.ring, state.ring_valid)
    evidence, tokens, cache = model.perceive(frames, is_first, cache, update_codebook)
    noises = [None] * frames.shape[1] if normal is None else normal.unbind(1)
    beliefs: list[Belief] = []
    before = actions.roll(1, 1).unbind(1)
    steps = zip(evidence.frames(), is_first.unbind(1), noises, before, strict=True)
    for seen, first, noise, previous in steps:
        if beliefs:
            state = model.advance(beliefs[-1], previous)
        state = where_first(first, initial, state)
        beliefs.append(model.correct(state, seen, first, noise))
    last = beliefs[-1]._replace(ring=cache.summaries, ring_valid=cache.valid)
    return stack_beliefs(beliefs), last, tokens


def pass_over(
    model: "AimeWorldModel", data: SequenceData, sample: bool, update_codebook: bool = False
) -> Filtered:
    """Filters, and runs prior and decoder over all frames."""
    normal = None
    if sample:
        shape = (*data.actions.shape[:2], model.config.latent_dim)
        normal = torch.randn(shape, dtype=data.actions.dtype, device=data.actions.device)
    beliefs, last, tokens = filter_sequence(
        model, data.observations, data.actions, data.is_first, normal, None, update_codebook
    )
    state = beliefs.state
    prior = model.prior_at(state.hidden, state.context_hat, state.action, beliefs.z)
    log_maps = beliefs.log_attention_hat
    maps = None if log_maps is None else log_maps.flatten(0, 1).exp()
    patches = model.decoder.patches(beliefs.features.flatten(0, 1), maps)
    return Filtered(beliefs, tokens, prior, patches, last)


def fit(
    model: "AimeWorldModel",
    data: SequenceData,
    beta: float = 1.0,
    tau: float = 1.0,
    discriminators: Discriminators | None = None,
    teacher: "AimeWorldModel | None" = None,
    number_format: str = "float32",
) -> FitPass:
    """One training pass with sampled latents and codebook learning; the caller does the rest.

    Args:
        model: The world model.
        data: The batch.
        beta: Weight of the KL terms.
        tau: Temperature of the KL bound.
        discriminators: Judge the decoded frames: the adversarial task. They do not learn here.
        teacher: Slow copy of the model, for the Gram loss; it is only read.
        number_format: "bfloat16" computes the products of the pass in it; losses are float32.
    """
    with precision.products_in(number_format, data.observations.device):
        passed = pass_over(model, data, sample=True, update_codebook=True)
    passed = precision.widened(passed)
    terms, kl = sequence_terms(model, data, passed, tau)
    judged: dict[str, Tensor] = {}
    if teacher is not None:
        terms["gram"] = gram_term(model, teacher, data)
    if discriminators is not None:
        pixels = terms["reconstruction"].mean()
        latents = passed.beliefs.z
        more, judged = adversarial_terms(
            model, discriminators, data, passed.patches, latents, pixels
        )
        terms |= more
    losses = combine(terms, model.config.weights, beta, model.config.control_task)
    metrics = {
        **{f"loss/{k}": v.detach() for k, v in losses.terms.items()},
        **diagnose(passed, data),
        **judged,
    }
    metrics["kl_bound"] = kl.mean()
    nats = losses.terms["reconstruction"].detach()
    if model.likelihood is None:
        metrics["pixel_error"] = nats / (0.5 * model.pixels.precision)
    else:
        metrics["bits_per_dimension"] = bits_per_dimension(nats, model.pixels.mean.numel())
    detached = map_tree(lambda x: x.detach(), passed.beliefs)
    return FitPass(losses, detached, metrics, passed.patches.detach())


def run_sequence(
    model: "AimeWorldModel",
    data: SequenceData,
    losses: bool,
    teacher: "AimeWorldModel | None" = None,
) -> WorldModelOutput:
    """What `forward_sequence` returns: everything about a sequence, losses if asked for."""
    passed = pass_over(model, data, sample=model.training)
    terms = sequence_terms(model, data, passed, 1.0)[0] if losses else {}
    if teacher is not None:
        terms["gram"] = gram_term(model, teacher, data)
    beliefs, c = passed.beliefs, model.config
    frames = unpatchify(passed.patches, c.patch, (c.image_size, c.image_size))
    view = model.attend(beliefs)

    def token_frames() -> Tensor:
        decoded = model.perceiver.tokenizer.decode_codes(passed.tokens.codes)
        return torch.unflatten(model.pixels.restore(decoded), 0, data.actions.shape[:2])

    return WorldModelOutput(
        observations=data.observations,
        reconstructions=model.pixels.restore(frames).unflatten(0, data.actions.shape[:2]),
        beliefs=beliefs,
        last=passed.last,
        prior=passed.prior,
        view=view,
        tokens=passed.tokens,
        predicted_rewards=model.reward(beliefs),
        predicted_continues=model.continuation(beliefs),
        token_frames=token_frames,
        terms=terms,
    )


def forward_sequence(
    model: "AimeWorldModel",
    observations: Tensor,
    actions: Float[Tensor, "B T A"],
    is_first: Bool[Tensor, "B T"] | None = None,
) -> WorldModelOutput:
    """Filters a whole sequence; see `WorldModelOutput` for what comes back.

    Args:
        model: The world model.
        observations: ``[B, T, C, H, W]``, uint8 or float in [0, 1].
        actions: a_t, chosen after o_t.
        is_first: Where episodes begin; by default at t = 0 only.
    """
    return run_sequence(model, model.sequence(observations, actions, is_first), model.training)


def compute_total_loss(
    model: "AimeWorldModel",
    observations: Tensor,
    actions: Float[Tensor, "B T A"],
    rewards: Float[Tensor, "..."] | None = None,
    terminated: Bool[Tensor, "..."] | None = None,
    is_first: Bool[Tensor, "B T"] | None = None,
    teacher: "AimeWorldModel | None" = None,
    **weights: float,
) -> tuple[dict[str, Tensor], WorldModelOutput]:
    """Returns ``(losses, outputs)``: named scalars with ``total`` and one entry per task.

    Args:
        model: The world model.
        observations: ``[B, T, C, H, W]``.
        actions: ``[B, T, A]``.
        rewards: r_t that arrived with o_t, ``[B, T]``; without them the reward head does not learn.
        terminated: Whether o_t is an end, ``[B, T]``; without it the continuation head does not learn.
        is_first: Where episodes begin; by default at t = 0 only.
        teacher: Slow copy of the model (``EMA(model).module``), for the Gram loss.
        **weights: ``beta, entropy_weight, lambda_recon, lambda_att_dyn, lambda_gram``, or any
            field of `LossWeights`. The adversarial terms need discriminators: see `fit`.
    """
    data = model.sequence(observations, actions, is_first)
    data = data._replace(
        rewards=_per_frame(data, rewards, "rewards"),
        terminated=_per_frame(data, terminated, "terminated"),
    )
    beta = weights.pop("beta", 1.0)
    chosen = seed_weights(model.config.weights, weights, teacher is not None)
    outputs = run_sequence(model, data, losses=True, teacher=teacher)
    losses = combine(outputs.terms, chosen, beta, model.config.control_task)
    named = {**losses.public(), **losses.terms, **losses.tasks, "total": losses.total}
    return named, outputs


def encode(
    model: "AimeWorldModel", observations: Tensor, actions: Float[Tensor, "B T A"] | None = None
) -> Float[Tensor, "B T z"]:
    """Returns the posterior mean of every frame (actions default to zeros)."""
    if actions is None:
        shape = (*observations.shape[:2], model.config.action_dim)
        actions = model.pixels.mean.new_zeros(shape)
    data = model.sequence(observations, actions, None)
    beliefs, _, _ = filter_sequence(model, data.observations, data.actions, data.is_first)
    return beliefs.z


def extract_context(
    model: "AimeWorldModel", observations: Tensor, detach: bool = False
) -> Float[Tensor, "B T c"]:
    """Returns the Perceiver context of every frame; width 0 if the model has no Perceiver."""
    frames = model.images(observations)
    model.check_frames(frames, "observations", 5)
    first = torch.zeros(frames.shape[:2], dtype=torch.bool, device=frames.device)
    evidence, _, _ = model.perceive(frames, first, model.initial_cache(len(frames)))
    return evidence.context.detach() if detach else evidence.context


def checked_sequence(
    model: "AimeWorldModel", observations: Tensor, actions: Tensor, is_first: Tensor | None
) -> SequenceData:
    """Checks shapes and brings a sequence to the model's device and floating type.

    Raises:
        ShapeError: frames, actions and flags do not fit the model or one another.
    """
    model.check_frames(observations, "observations", 5)
    batch, length = observations.shape[:2]
    validate_shape(
        actions,
        (batch, length, model.config.action_dim),
        "actions",
        "One action per frame; the model's action_dim comes from its config",
    )
    frames = model.images(observations)
    if is_first is None:
        is_first = torch.zeros(batch, length, dtype=torch.bool, device=frames.device)
        is_first[:, 0] = True
    validate_shape(is_first, (batch, length), "is_first")
    return SequenceData(frames, actions.to(frames), is_first.to(frames.device))


def _per_frame(data: SequenceData, values: Tensor | None, name: str) -> Tensor | None:
    """Checks one number per frame; floats take the frames' type."""
    if values is None:
        return None
    remedy = "One number per frame: drop other dimensions"
    validate_shape(values, tuple(data.is_first.shape), name, remedy)
    frames = data.observations
    return values.to(frames) if values.is_floating_point() else values.to(frames.device)
