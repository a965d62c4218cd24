"""Taking one thing away from a trained world model, by edits of what its parts hand on.

    seen context        0 in the posterior
    predicted context   0 in the prior and in the LSTM
    mixture             its heaviest component alone
    recurrence          (h, cell) of every step by the learned start
    attention           uniform A^ in the decoder, and a glimpse that weighs all cells alike
    slots               0 after every frame, and a glimpse of 0

Nothing is retrained and no module is changed. W windows of T frames.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.perception.causal_perceiver import MixerCache
from aime_agent.representation.mixture import MixturePrior
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.losses import SequenceData, reconstruction_error, slot_pixels
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief, Evidence, stack_beliefs, where_first

OPEN_LOOP = 3
"""Prior steps of the open-loop term."""

X = TypeVar("X")


def _same(x: X) -> X:
    return x


def _same_evidence(model: AimeWorldModel, frames: Tensor, evidence: Evidence) -> Evidence:
    del model, frames
    return evidence


def _same_core(model: AimeWorldModel, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    del model
    return hidden, cell


def _always(config: WorldModelConfig) -> bool:
    del config
    return True


class Ablation(NamedTuple):
    """One thing to take away, as edits of what the model's parts hand on."""

    name: str
    remedy: str
    evidence: Callable[[AimeWorldModel, Tensor, Evidence], Evidence] = _same_evidence
    context_hat: Callable[[Tensor], Tensor] = _same
    core: Callable[[AimeWorldModel, Tensor, Tensor], tuple[Tensor, Tensor]] = _same_core
    belief: Callable[[Belief], Belief] = _same
    prior: Callable[[MixturePrior], MixturePrior] = _same
    present: Callable[[WorldModelConfig], bool] = _always
    """Whether a model of this configuration has the thing."""


class Terms(NamedTuple):
    """Mean loss of every window, in nats per frame."""

    reconstruction: Float[Tensor, " W"]
    kl: Float[Tensor, " W"]
    reward: Float[Tensor, " W"]
    open_loop: Float[Tensor, " W"]
    slot_pixels: Float[Tensor, " W"]
    """The slot decoder's own error, 0 without slots; shown only."""


def measure(model: AimeWorldModel, data: SequenceData, ablation: Ablation) -> Terms:
    """Runs the model with one thing taken away and returns the loss of every window."""
    beliefs = filter_without(model, data, ablation)
    if beliefs.mean is None or beliefs.std is None:
        raise ValueError("beliefs: inferred ones are needed, found a dream")
    if data.rewards is None:
        raise ValueError("data: rewards are needed, found none")
    log_maps = beliefs.log_attention_hat
    maps = None if log_maps is None else log_maps.flatten(0, 1).exp()
    patches = model.decoder.patches(beliefs.features.flatten(0, 1), maps)
    state = beliefs.state
    prior = ablation.prior(model.prior_at(state.hidden, state.context_hat, state.action, beliefs.z))
    reward = model.reward_head.loss(model.reward_head(beliefs.features), data.rewards)
    goes_on = ~data.is_first
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        slots = beliefs.slots
        own = patches.new_zeros(()) if slots is None else slot_pixels(model, data, slots)
    return Terms(
        reconstruction_error(model, patches, data.observations).mean(1),
        _window_mean(prior.kl_bound(beliefs.mean, beliefs.std), goes_on),
        _window_mean(reward, goes_on),
        open_loop(model, beliefs, data, ablation),
        own.expand(len(goes_on)),
    )


def filter_without(model: AimeWorldModel, data: SequenceData, ablation: Ablation) -> Belief:
    """Infers the mean belief at every frame, with one thing taken away."""
    initial = model.initial_state(len(data.actions))
    cache = MixerCache(initial.ring, initial.ring_valid)
    evidence, _, _ = model.perceive(data.observations, data.is_first, cache)
    evidence = ablation.evidence(model, data.observations, evidence)
    state, beliefs = initial, list[Belief]()
    steps = zip(evidence.frames(), data.is_first.unbind(1), strict=True)
    for t, (seen, first) in enumerate(steps):
        if beliefs:
            state = model.advance(beliefs[-1], data.actions[:, t - 1])
            hidden, cell = ablation.core(model, state.hidden, state.cell)
            state = state._replace(hidden=hidden, cell=cell)
        state = where_first(first, initial, state)
        belief = model.correct(state, seen, first, None)
        belief = belief._replace(context_hat=ablation.context_hat(belief.context_hat))
        beliefs.append(ablation.belief(belief))
    return stack_beliefs(beliefs)


def open_loop(
    model: AimeWorldModel, beliefs: Belief, data: SequenceData, ablation: Ablation
) -> Float[Tensor, " W"]:
    """U of the posterior after 1..`OPEN_LOOP` prior steps with the true actions, from all frames."""
    windows, length = data.is_first.shape
    count = length - OPEN_LOOP

    def at(x: Tensor, k: int) -> Tensor:
        return x[:, k : k + count].flatten(0, 1)

    if beliefs.mean is None or beliefs.std is None:
        raise ValueError("beliefs: inferred ones are needed, found a dream")
    noise = torch.Generator(device=data.actions.device).manual_seed(0)
    hidden, cell = at(beliefs.state.hidden, 0), at(beliefs.state.cell, 0)
    z, context_hat = at(beliefs.z, 0), at(beliefs.context_hat, 0)
    fed = at(model.lstm_context(beliefs.context, beliefs.context_hat), 0)
    keep = torch.ones_like(at(data.is_first, 0))
    total, weight = data.actions.new_zeros(windows), data.actions.new_zeros(windows)
    for k in range(1, OPEN_LOOP + 1):
        keep = keep & ~at(data.is_first, k)
        hidden, cell = model.dynamics.step(hidden, cell, z, fed, at(data.actions, k - 1))
        hidden, cell = ablation.core(model, hidden, cell)
        action = at(data.actions, k - 1) if model.config.action_in_prior else None
        prior = ablation.prior(model.prior_at(hidden, context_hat, action, at(beliefs.z, k)))
        bound = prior.kl_bound(at(beliefs.mean, k), at(beliefs.std, k))
        total += (bound * keep).unflatten(0, (windows, count)).sum(1)
        weight += keep.unflatten(0, (windows, count)).sum(1)
        z = model.draw(
            prior,
            hidden,
            torch.empty_like(z).normal_(generator=noise),
            torch.empty_like(z[:, 0]).uniform_(generator=noise),
        )
        fed = context_hat = ablation.context_hat(model.dynamics.predict_context(hidden, z))
    return total / weight.clamp(min=1.0)


def _blind(model: AimeWorldModel, frames: Tensor, evidence: Evidence) -> Evidence:
    """The posterior's input with a context of zero."""
    features = model.trunk(model.pixels.encoder_input(frames.flatten(0, 1)))
    context = torch.zeros_like(evidence.context)
    posterior_input = model.encoder.precompute(features.low, context.flatten(0, 1))
    return evidence._replace(
        posterior_input=posterior_input.unflatten(0, frames.shape[:2]), context=context
    )


def _even(model: AimeWorldModel, frames: Tensor, evidence: Evidence) -> Evidence:
    """Every cell shows the mean of all cells, so that any weights give the same glimpse."""
    del model, frames
    values = evidence.glimpse_values
    if not values.numel():
        return evidence
    return evidence._replace(glimpse_values=values.mean(-2, keepdim=True).expand_as(values))


def _no_glimpse(model: AimeWorldModel, frames: Tensor, evidence: Evidence) -> Evidence:
    del model, frames
    return evidence._replace(glimpse_values=torch.zeros_like(evidence.glimpse_values))


def _forget(model: AimeWorldModel, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    del cell
    return model.dynamics.initial(len(hidden))


def _uniform(belief: Belief) -> Belief:
    if belief.log_attention_hat is None:
        return belief
    cells = belief.log_attention_hat.shape[-2:].numel()
    even = torch.full_like(belief.log_attention_hat, 1.0 / cells)
    return belief._replace(log_attention_hat=even.log(), attention=even)


def _no_slots(belief: Belief) -> Belief:
    return belief if belief.slots is None else belief._replace(slots=torch.zeros_like(belief.slots))


def heaviest(prior: MixturePrior) -> MixturePrior:
    """Returns the mixture of the heaviest component alone."""
    chosen = prior.log_pi.argmax(-1)[..., None, None]
    chosen = chosen.expand(*chosen.shape[:-1], prior.means.shape[-1])
    return prior._replace(
        log_pi=torch.zeros_like(prior.log_pi[..., :1]),
        means=prior.means.gather(-2, chosen),
        stds=prior.stds.gather(-2, chosen),
    )


ABLATIONS = (
    Ablation(
        "seen context",
        "the posterior needs the frame alone; train longer",
        evidence=_blind,
        present=lambda c: c.context != "none",
    ),
    Ablation(
        "predicted context",
        "h and z hold what it says; train longer or compare a smaller context_dim",
        context_hat=torch.zeros_like,
        present=lambda c: c.context != "none",
    ),
    Ablation(
        "mixture",
        "one component does, which may be right in a deterministic task; compare max_components=1",
        prior=heaviest,
        present=lambda c: c.max_components > 1,
    ),
    Ablation("recurrence", "one frame says all; look for a leak or train longer", core=_forget),
    Ablation(
        "attention",
        "its gains start at 0; train longer",
        evidence=_even,
        belief=_uniform,
        present=lambda c: c.use_attention,
    ),
    Ablation(
        "slots",
        "the posterior ignores the glimpse; train longer",
        evidence=_no_glimpse,
        belief=_no_slots,
        present=lambda c: c.use_slots,
    ),
)  # fmt: skip
"""In the order of the pillars; optimization leaves nothing in the model to take away."""


def _window_mean(x: Float[Tensor, "W T"], keep: Bool[Tensor, "W T"]) -> Float[Tensor, " W"]:
    return (x * keep).sum(1) / keep.sum(1).clamp(min=1)
