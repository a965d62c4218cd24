"""What may depend on what (the binding time convention), with a positive control each."""

import copy

import pytest
import torch

SEEN = {
    "z", "mean", "context", "context_hat", "log_evidence", "attention", "slots",
    "responsibilities", "log_attention_hat", "reconstructions", "predicted_rewards",
    "predicted_continues",
}  # fmt: skip
"""What must react to the frame of its own time."""
FORESEEN = {
    "state.hidden", "state.cell", "state.context_hat", "state.attention", "state.slots",
    "state.attention_memory", "slots_hat", "prior.log_pi", "prior.means", "prior.stds",
}  # fmt: skip
"""What exists before the frame is seen."""
T = 3


def past_reached_from_the_future(respond, world):
    return {k for k, d in respond(world, frames=slice(T, None))(slice(0, T)).items() if d}


def test_future_frames_change_nothing(respond, world):
    assert not past_reached_from_the_future(respond, world)
    now = respond(world, frames=slice(T, None))(T)
    assert {k: now[k] for k in SEEN if now[k] < 1e-3} == {}


def test_frame_does_not_change_its_own_prior(respond, world):
    effect = respond(world, frames=T)
    assert {k: d for k, d in effect(T).items() if k in FORESEEN and d} == {}
    later = effect(slice(T + 1, None))
    assert {k: later[k] for k in FORESEEN if later[k] < 1e-3} == {}


def test_action_changes_the_next_prior_and_nothing_now(respond, world):
    effect = respond(world, actions=T)
    assert {k: d for k, d in effect(slice(0, T + 1)).items() if d} == {}
    later = effect(T + 1)
    names = ("state.hidden", "prior.log_pi", "prior.means", "prior.stds")
    assert {k: later[k] for k in names if later[k] < 1e-3} == {}


def test_last_action_changes_nothing(respond, world):
    assert not any(respond(world, actions=-1)(slice(None)).values())


def look_back(world):
    """Plants an acausal layer: the trunk norms each feature over all frames of a batch."""
    leaky = copy.deepcopy(world)
    leaky.trunk.register_forward_hook(
        lambda _m, _i, out: type(out)(*(x / x.std(0, keepdim=True) for x in out))
    )
    return leaky


def look_ahead(world):
    """Plants an off-by-one: the mixer gives every frame the context of the next one."""
    leaky = copy.deepcopy(world)
    leaky.perceiver.mixer.register_forward_hook(lambda _m, _i, out: (out[0].roll(-1, 1), out[1]))
    return leaky


@pytest.mark.parametrize("plant", [look_back, look_ahead])
def test_causality_test_catches_a_planted_leak(respond, world, plant):
    assert past_reached_from_the_future(respond, plant(world)) >= {
        "z",
        "context",
        "reconstructions",
    }


def test_prior_test_catches_perceived_context_in_the_recurrence(respond, world):
    leaky = copy.deepcopy(world)
    correct = leaky.correct
    leaky.correct = lambda state, seen, *rest: correct(
        state._replace(context_hat=seen.context), seen, *rest
    )
    effect = respond(leaky, frames=T)(T)
    assert min(effect[k] for k in ("prior.log_pi", "prior.means")) > 1e-3


def next_step(world, belief, action):
    """h_{t+1} and the prior there."""
    state = world.advance(belief, action)
    noise = torch.zeros_like(belief.z), torch.full_like(belief.z[:, 0], 0.5)
    dreamt = world.imagine(state, 1.0, noise)
    return {"h": state.hidden, "cell": state.cell, "z": dreamt.z, "pi": dreamt.log_pi}


@torch.no_grad()
def test_only_z_and_predicted_context_feed_the_recurrence(world, film):
    belief = world.forward_sequence(film.frames, film.actions).last
    base = next_step(world, belief, film.actions[:, -1])
    read = {"z", "mean", "std", "context_hat", "state", "log_pi", "ring_valid"}
    spare = {
        k: torch.rand_like(v)
        for k, v in belief._asdict().items()
        if v is not None and k not in read
    }
    assert {"context", "slots", "attention", "attention_memory", "ring"} <= set(spare)
    same = next_step(world, belief._replace(**spare), film.actions[:, -1])
    assert {k for k in base if not torch.equal(base[k], same[k])} == set()
    for name in ("z", "context_hat"):
        noise = {name: torch.randn_like(getattr(belief, name))}
        other = next_step(world, belief._replace(**noise), film.actions[:, -1])
        assert min((base[k] - other[k]).abs().max() for k in base) > 1e-3, name
