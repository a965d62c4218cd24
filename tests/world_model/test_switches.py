"""Pillars switched off: gone from the module tree, from the losses and from the recurrence."""

import pytest
import torch
from laws import every_parameter_gets_gradient

from aime_agent.agents.config import AgentConfig
from aime_agent.agents.learner import WorldModelLearner
from aime_agent.errors import ConfigError
from aime_agent.optimization.loss_aggregator import CONTROL, TASKS
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import stack_beliefs

ARMS = {
    "observed": {"context": "observed"},
    "no context": {"context": "none"},
    "no attention": {"use_attention": False},
    "no slots": {"use_slots": False},
    "no pillar 4": {"use_attention": False, "use_slots": False},
    "control task": {"control_task": True},
    "rssm": {"context": "none", "use_attention": False, "use_slots": False, "max_components": 1},
}
T, SEEN, CLOSE = 3, 3, 1e-9
ATTENTION = {"attention_kl", "movement"}
SLOTS = {"slot_transition", "slot_reconstruction", "diversity"}
TOKENS = {"token_reconstruction", "token_prediction", "commitment", "context_prediction"}
LOST = {
    "observed": (set(), set()),
    "no context": ({"perceiver"}, TOKENS),
    "no attention": ({"attention_prior"}, ATTENTION),
    "no slots": ({"slots", "slot_decoder"}, ATTENTION | SLOTS),
    "no pillar 4": ({"slots", "slot_decoder", "attention_prior"}, ATTENTION | SLOTS),
    "control task": (set(), set()),
    "rssm": (
        {"perceiver", "slots", "slot_decoder", "attention_prior"},
        ATTENTION | SLOTS | TOKENS,
    ),
}


@pytest.fixture(params=sorted(ARMS))
def arm(request):
    return request.param


@pytest.fixture
def other(make, arm):
    return make(**ARMS[arm])


def data_of(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


def losses_of(world, film):
    torch.manual_seed(11)
    return world.compute_total_loss(
        film.frames, film.actions, film.rewards, film.terminated, film.first
    )[0]


def test_what_is_off_is_neither_built_nor_computed(other, world, film, arm):
    modules, terms = LOST[arm]
    assert set(dict(world.named_children())) - set(dict(other.named_children())) == modules
    with_it, without = (set(m.fit(data_of(film)).losses.terms) for m in (world, other))
    assert with_it - without == terms


def test_every_parameter_gets_a_gradient(make, film, arm):
    # One component needs no sticks, and their loss is 0 by definition.
    idle = [n for n, _ in make(**ARMS[arm]).named_parameters() if "max_components" in ARMS[arm]]
    idle = [n for n in idle if n.startswith("prior.") and "stick" in n]
    model = make(scale=0, free_nats=0.0, **ARMS[arm]).train()
    every_parameter_gets_gradient(
        model, lambda m: m.fit(data_of(film)).losses.terms, except_for=idle
    )


def test_a_train_step_lowers_the_loss_of_its_batch(make, film, arm):
    model = make(scale=0, **ARMS[arm]).train()
    learner = WorldModelLearner(model, AgentConfig())
    before = losses_of(model, film)["reconstruction"]
    for step in range(12):
        _, _, metrics = learner.update(data_of(film), step)
    assert losses_of(model, film)["reconstruction"] < before
    assert ("grad_norm/slots" in metrics) == (arm not in ("no pillar 4", "rssm"))


@torch.no_grad()
def test_predict_future_works(other, film):
    out = other.predict_future(
        film.frames[:, :SEEN], film.actions[:, : SEEN - 1], film.actions[:, SEEN - 1 :]
    )
    c = other.config
    assert out.observations.isfinite().all()
    assert (out.attention_maps is not None, out.slots is not None) == (c.use_attention, c.use_slots)


def test_future_frames_change_nothing(respond, other):
    effect = respond(other, frames=slice(T, None))
    assert {k: d for k, d in effect(slice(0, T)).items() if d} == {}
    assert {k for k in ("z", "reconstructions") if effect(T)[k] < 1e-3} == set()


def test_frame_does_not_change_its_own_prior(respond, other):
    effect = respond(other, frames=T)
    priors = ("state.hidden", "state.cell", "prior.means", "prior.stds", "prior.log_pi")
    assert {k for k in priors if effect(T)[k]} == set()
    assert effect(T + 1)["prior.means"] > 1e-3


@torch.no_grad()
def test_frame_by_frame_equals_the_whole_sequence(other, film, named, moved):
    film.first[0, 4] = film.first[1, 2] = True
    whole = other.forward_sequence(film.frames, film.actions, film.first)
    state, steps = other.initial_state(len(film.frames)), []
    for t in range(film.frames.shape[1]):
        steps.append(other.infer(state, film.frames[:, t], film.first[:, t]))
        state = other.advance(steps[-1], film.actions[:, t])
    each = stack_beliefs(steps)
    parts = [{k: v for k, v in named(x).items() if "ring" not in k} for x in (whole.beliefs, each)]
    assert {k: d for k, d in moved(*parts).items() if not d < CLOSE} == {}
    torch.testing.assert_close(whole.reconstructions, other.decode(each), rtol=0, atol=CLOSE)


@torch.no_grad()
def test_outputs_have_every_key_they_promise(other, film):
    out = other.train().forward_sequence(film.frames, film.actions)
    assert len({k: out[k] for k in out}) == len(out)
    other.eval()


def test_survives_saving(other, film, tmp_path):
    other.float().save_pretrained(tmp_path)
    loaded = AimeWorldModel.from_pretrained(tmp_path)
    frames, actions = film.frames.float(), film.actions.float()
    assert torch.equal(loaded.encode(frames, actions), other.encode(frames, actions))


@torch.no_grad()
@pytest.mark.parametrize(("context", "reads"), [("predicted", False), ("observed", True)])
def test_lstm_reads_the_seen_context_only_where_observed(make, film, context, reads):
    model = make(context=context)
    belief = model.forward_sequence(film.frames, film.actions).last
    other = belief._replace(context=torch.randn_like(belief.context))
    action = film.actions[:, -1]
    one, two = model.advance(belief, action), model.advance(other, action)
    assert torch.equal(one.hidden, two.hidden) != reads
    assert torch.equal(one.context_hat, two.context_hat)
    dream = model.imagine(one)
    assert torch.equal(dream.context, dream.context_hat)


@torch.no_grad()
def test_consistency_starts_from_what_the_lstm_read(make, film):
    """One step ahead of an inferred belief, the open loop and inference are the same step."""
    for context in ("predicted", "observed"):
        model = make(
            context=context,
            consistency_steps=1,
            consistency_every=1,
            free_nats=0.0,
            max_components=1,
        )
        out = model.forward_sequence(film.frames, film.actions)
        ours = losses_of(model, film)["consistency"]
        bound = out.prior.kl_bound(out.beliefs.mean, out.beliefs.std)[:, 1:]
        torch.testing.assert_close(ours, bound.mean())


def test_control_task_moves_terms_and_changes_no_sum(make, film):
    plain, control = make(), make(control_task=True)
    one, two = losses_of(plain, film), losses_of(control, film)
    torch.testing.assert_close(one["total"], two["total"])
    weights = plain.config.weights
    expected = sum(getattr(weights, name) * one[name] for name in CONTROL)
    torch.testing.assert_close(two["control"], expected)
    torch.testing.assert_close(one["elbo"] - two["elbo"], expected)
    per_task = control.fit(data_of(film)).losses.per_task()
    assert len(per_task) == len(TASKS) + 1
    assert per_task[-1] is not None


def test_balancer_feels_the_control_task(make, film):
    directions = []
    for split in (False, True):
        model = make(use_rgb=True, control_task=split).train()
        torch.manual_seed(3)
        model.make_balancer().backward(model.fit(data_of(film)).losses.per_task())
        directions.append(model.dynamics.lstm.cells[0].weight_hh.grad)
    cosine = torch.nn.functional.cosine_similarity(*(d.flatten() for d in directions), dim=0)
    assert cosine < 0.999


def test_unknown_context_is_named():
    config = WorldModelConfig()
    object.__setattr__(config, "context", "seen")
    with pytest.raises(ConfigError, match=r"context must be one of .*found 'seen'"):
        config.__post_init__()
