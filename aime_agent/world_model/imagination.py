"""Open-loop prediction: after a few real frames, the model goes on alone.

actions[:, k] lies between frames k and k + 1;  future_actions[:, k] precedes predicted frame k
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.shapes import validate_shape
from aime_agent.world_model.sequence import filter_sequence
from aime_agent.world_model.state import (
    Belief,
    Prediction,
    Trajectory,
    WorldState,
    map_tree,
    stack_beliefs,
)

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel

Policy = Callable[[Tensor], Tensor]
"""Features ``[N, F]`` to actions ``[N, A]``."""


def imagine(
    model: "AimeWorldModel",
    state: WorldState,
    temperature: float = 1.0,
    noise: tuple[Float[Tensor, "B z"], Float[Tensor, " B"]] | None = None,
    attend: bool = True,
) -> Belief:
    """Returns the prior's belief at t: the same step without an observation.

    Args:
        model: The world model.
        state: State before t.
        temperature: 0 is the mean of the heaviest component.
        noise: ``(normal [B, z], uniform [B])``; drawn if absent.
        attend: Roll attention and slots on too; False where nobody will decode.
    """
    prior = model.prior_at(state.hidden, state.context_hat, state.action)
    normal, uniform = noise or dream_noise(model, state.hidden)
    z = model.draw(prior, state.hidden, normal, uniform, temperature)
    context_hat = model.dynamics.predict_context(state.hidden, z)
    belief = Belief(
        state, z, None, None, prior.log_pi, context_hat, context_hat,
        None, None, None, None, None, None, None, None, state.ring, state.ring_valid,
    )  # fmt: skip
    return model.watch(belief) if attend else belief


def watch(model: "AimeWorldModel", belief: Belief) -> Belief:
    """Fills in a dreamt belief's predicted attention and slots."""
    state = belief.state
    if model.config.use_slots:
        slots = model.slots.transition(state.slots, state.hidden)
        belief = belief._replace(slots_hat=slots, slots=slots)
    if not model.config.use_attention:
        return belief
    ahead = model.attention_prior.predict(
        state.attention, state.attention_memory, state.hidden, belief.z
    )
    return belief._replace(
        log_attention_hat=ahead.log_probs,
        attention=ahead.log_probs.exp(),
        attention_memory=ahead.memory,
        shift=ahead.shift,
    )


def dream_noise(model: "AimeWorldModel", like: Tensor) -> tuple[Tensor, Tensor]:
    """Draws the noise of one imagined step for as many rows as ``like`` has."""
    batch = like.shape[0]
    normal = torch.randn(batch, model.config.latent_dim, dtype=like.dtype, device=like.device)
    return normal, torch.rand(batch, dtype=like.dtype, device=like.device)


def rollout(
    model: "AimeWorldModel",
    belief: Belief,
    policy: Policy | Float[Tensor, "N H A"],
    horizon: int,
    noise: tuple[Float[Tensor, "N H z"], Float[Tensor, "N H"]] | None = None,
    temperature: float = 1.0,
    attend: bool = False,
) -> Trajectory:
    """Imagines ``horizon`` steps from beliefs: the one loop of actor, planner and prediction.

    Args:
        model: The world model.
        belief: N beliefs to start from.
        policy: Features ``[N, F]`` to actions ``[N, A]``, or the actions themselves.
        horizon: H.
        noise: ``(normal, uniform)`` for all steps; drawn if absent.
        temperature: See `imagine`.
        attend: Whether attention and slots roll on, for someone who will look.

    Raises:
        ShapeError: given actions are not ``[N, H, A]``.
    """
    features, actions, beliefs = [belief.features], [], []
    rows = belief.z.shape[0]
    if noise is None:
        normal = torch.randn(rows, horizon, model.config.latent_dim).to(belief.z)
        noise = normal, torch.rand(rows, horizon).to(belief.z)
    normals, uniforms = noise[0].unbind(1), noise[1].unbind(1)
    given = _given(model, policy, rows, horizon) if isinstance(policy, Tensor) else None
    for k in range(horizon):
        action = policy(features[-1]) if given is None else given[k]  # type: ignore[operator]
        state = model.advance(belief, action)
        belief = model.imagine(state, temperature, (normals[k], uniforms[k]), attend)
        features.append(belief.features)
        actions.append(action)
        beliefs.append(belief)
    return Trajectory(torch.stack(features, 1), torch.stack(actions, 1), beliefs)


def _given(model: "AimeWorldModel", actions: Tensor, rows: int, horizon: int) -> list[Tensor]:
    """The given actions step by step."""
    remedy = "One row per belief, one action per step"
    validate_shape(actions, (rows, horizon, model.config.action_dim), "actions", remedy)
    return list(actions.unbind(1))


@torch.no_grad()
def predict_future(  # noqa: PLR0913 (a public verb whose arguments the design fixes)
    model: "AimeWorldModel",
    observations: Tensor,
    actions: Float[Tensor, "B n A"],
    future_actions: Float[Tensor, "B H A"] | None = None,
    policy: Callable[[Tensor], Tensor] | None = None,
    horizon: int | None = None,
    num_samples: int = 1,
    temperature: float = 1.0,
    deterministic: bool = False,
    decode: bool = True,
) -> Prediction:
    """Predicts the frames after the given ones.

    Args:
        model: The world model.
        observations: T_ctx frames ``[B, T_ctx, C, H, W]``, uint8 or float in [0, 1].
        actions: The ``T_ctx − 1`` actions between them; one more is the first future action.
        future_actions: Actions of the prediction; ``[:, k]`` precedes predicted frame k.
        policy: Features ``[N, h+z]`` to actions; instead of ``future_actions``.
        horizon: Predicted frames; needed with a policy, else the number of future actions.
        num_samples: Futures per sequence.
        temperature: Of the mixture prior.
        deterministic: Take the mean of the heaviest component (temperature 0) and the mean of the
            posterior.
        decode: Make frames, attention maps and slots too.

    Raises:
        ValueError: neither ``future_actions`` nor ``policy`` is given, or both; ``horizon`` or
            ``num_samples`` is out of range.
        ShapeError: frames do not fit the model, or actions the frames.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, found {num_samples}")
    plan = _plan(model, observations, actions, future_actions, policy)
    steps = _horizon(plan, horizon)
    start = _last_belief(model, observations, actions, sample=not deterministic)
    start = map_tree(lambda x: x.repeat_interleave(num_samples, 0), start)
    drive = policy if plan is None else plan[:, :steps].repeat_interleave(num_samples, 0)
    if drive is None:
        raise ValueError("future_actions or policy must be given, found neither")
    path = model.rollout(
        start, drive, steps, temperature=0.0 if deterministic else temperature, attend=decode
    )
    return _prediction(model, stack_beliefs(path.beliefs), len(observations), num_samples, decode)


def _plan(
    model: "AimeWorldModel",
    observations: Tensor,
    actions: Tensor,
    future_actions: Tensor | None,
    policy: Callable[[Tensor], Tensor] | None,
) -> Tensor | None:
    """Future actions with the surplus one in front, or None where a policy acts."""
    model.check_frames(observations, "observations", 5)
    batch, context = observations.shape[:2]
    width = model.config.action_dim
    surplus = actions.shape[1] - (context - 1)
    if surplus not in (0, 1):
        remedy = f"{context} frames have {context - 1} actions between them"
        validate_shape(actions, (batch, context - 1, width), "actions", remedy)
    validate_shape(actions, (batch, -1, width), "actions")
    if policy is not None:
        if future_actions is not None or surplus:
            raise ValueError("policy and future actions exclude each other, found both")
        return None
    parts = [actions[:, context - 1 :]] if surplus else []
    if future_actions is not None:
        validate_shape(future_actions, (batch, -1, width), "future_actions")
        parts.append(future_actions)
    if not parts:
        raise ValueError("future_actions or policy must be given, found neither")
    return torch.cat([p.to(model.pixels.mean) for p in parts], dim=1)


def _horizon(plan: Tensor | None, horizon: int | None) -> int:
    if plan is None:
        if horizon is None or horizon < 1:
            raise ValueError(f"horizon must be at least 1 where a policy acts, found {horizon}")
        return horizon
    steps = plan.shape[1] if horizon is None else horizon
    if not 1 <= steps <= plan.shape[1]:
        raise ValueError(
            f"horizon must be between 1 and the {plan.shape[1]} future actions, found {steps}"
        )
    return steps


def _last_belief(
    model: "AimeWorldModel", observations: Tensor, actions: Tensor, sample: bool
) -> Belief:
    """Belief at the last given frame."""
    batch, context = observations.shape[:2]
    between = actions[:, : context - 1]
    unused = between.new_zeros(batch, 1, between.shape[-1])
    data = model.sequence(observations, torch.cat([between, unused], dim=1), None)
    noise = None
    if sample and model.training:
        noise = torch.randn(batch, context, model.config.latent_dim).to(data.actions)
    return filter_sequence(model, data.observations, data.actions, data.is_first, noise)[1]


def _prediction(
    model: "AimeWorldModel", beliefs: Belief, batch: int, samples: int, decode: bool
) -> Prediction:
    """Reads the heads; folds samples into their own axis."""

    def fold(x: Tensor) -> Tensor:
        return x if samples == 1 else x.unflatten(0, (batch, samples))

    weights = beliefs.log_pi if beliefs.log_pi is not None else beliefs.z[..., :0]
    return Prediction(
        observations=fold(model.decode(beliefs)) if decode else None,
        rewards=fold(model.reward(beliefs)),
        continues=fold(model.continuation(beliefs)),
        latents=fold(beliefs.z),
        attention_maps=fold(beliefs.attention) if beliefs.attention is not None else None,
        slots=fold(beliefs.slots) if beliefs.slots is not None else None,
        mixture_weights=fold(weights.exp()),
    )
