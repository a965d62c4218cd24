"""Every term of the loss: present, weighted, masked, and right where a number is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from laws import every_parameter_gets_gradient
from torch.testing import assert_close

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.saliency import change_maps
from aime_agent.optimization.loss_aggregator import TASKS, TERMS
from aime_agent.representation.mixture import MixturePrior, usage_gap
from aime_agent.world_model.losses import (
    SequenceData,
    consistency_loss,
    latent_kl,
    masked_mean,
    motion_weights,
    reconstruction_error,
    slot_pixels,
)
from aime_agent.world_model.state import bare_belief

OPTIONAL = {"attention_target", "gram"}
OURS = {name for name, term in TERMS.items() if term.task != "adversarial"} - OPTIONAL


def losses_of(world, film, **kw):
    torch.manual_seed(11)
    return world.compute_total_loss(
        film.frames, film.actions, film.rewards, film.terminated, film.first, **kw
    )[0]


def data_of(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


def gaussian_prior(mean, std=1.0):
    """K = 1: a Gaussian, for which U is the KL."""
    lead, none = mean.shape[:-1], mean[..., None, :0].flatten(-2)
    one = mean.new_ones(lead)
    return MixturePrior(
        mean.new_zeros(*lead, 1), mean[..., None, :], torch.full_like(mean, std)[..., None, :],
        none, none, one, one,
    )  # fmt: skip


def uneven_prior():
    means = torch.tensor([[[0.0, 1.0], [3.0, -2.0]]]).double()
    one = means.new_ones(1)
    log_pi = torch.tensor([[0.9, 0.1]]).double().log()
    return MixturePrior(log_pi, means, torch.ones_like(means), one[:, None], one[:, None], one, one)


def test_every_term_is_there_and_finite(fresh, film):
    losses = losses_of(fresh, film)
    assert set(losses) >= OURS | {TERMS[n].key for n in OURS} | set(TASKS[:3]) | {"total"}
    assert all(x.ndim == 0 and x.isfinite() for x in losses.values())


def test_total_is_the_weighted_sum_of_terms(fresh, film):
    losses, weights = losses_of(fresh, film, beta=0.5), fresh.config.weights
    share = {n: getattr(weights, n) * (0.5 if TERMS[n].annealed else 1.0) for n in OURS}
    assert_close(losses["total"], sum(share[n] * losses[n] for n in OURS))
    assert_close(losses["total"], sum(losses[t] for t in TASKS[:3]))


def test_every_term_has_a_gradient(world, film):
    losses, parameters = losses_of(world, film), list(world.parameters())
    for name in OURS:
        grads = torch.autograd.grad(losses[name], parameters, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in grads), name


def test_every_parameter_gets_a_gradient(make, film):
    world = make(scale=0, free_nats=0.0)
    every_parameter_gets_gradient(world.train(), lambda m: m.fit(data_of(film)).losses.terms)


@pytest.mark.parametrize(
    ("term", "part"),
    [
        ("reward", "reward_head"),
        ("continuation", "continuation_head"),
        ("reconstruction", "decoder"),
        ("token_prediction", "perceiver.predictor"),
        ("token_reconstruction", "perceiver.tokenizer.decoder"),
        ("slot_reconstruction", "slot_decoder"),
    ],
)
def test_weight_zero_removes_the_gradient(world, film, term, part):
    parameters = list(world.get_submodule(part).parameters())
    for weight, reached in ((1.0, True), (0.0, False)):
        total = losses_of(world, film, **{term: weight})["total"]
        grads = torch.autograd.grad(total, parameters, allow_unused=True)
        assert any(g is not None and g.any() for g in grads) == reached


@pytest.mark.parametrize("term", sorted(OURS))
def test_weight_scales_its_own_term(world, film, term):
    plain, heavy = losses_of(world, film), losses_of(world, film, **{term: 7.0})
    extra = (7.0 - getattr(world.config.weights, term)) * plain[term]
    assert_close(heavy["total"] - plain["total"], extra, rtol=1e-6, atol=1e-6)


def test_beta_multiplies_the_kl_terms_alone(world, film):
    with_kl, without = losses_of(world, film), losses_of(world, film, beta=0.0)
    annealed = [n for n in OURS if TERMS[n].annealed]
    assert set(annealed) == {"kl_latent", "hierarchical_kl", "attention_kl"}
    kl = sum(getattr(world.config.weights, n) * with_kl[n] for n in annealed)
    assert_close(with_kl["total"] - without["total"], kl)


def test_reward_that_no_action_earned_teaches_nothing(world, film):
    film.first[0, 3] = True
    before = losses_of(world, film)
    film.rewards[film.first] += 5.0
    assert losses_of(world, film)["reward"] == before["reward"]
    film.rewards[~film.first] += 5.0
    assert losses_of(world, film)["reward"] != before["reward"]


@pytest.mark.parametrize(
    "term", ["reward", "movement", "slot_transition", "token_prediction", "consistency"]
)
def test_nothing_is_predicted_across_episodes(world, film, term):
    assert losses_of(world, film)[term] > 0
    film.first[:] = True
    assert losses_of(world, film)[term] == 0


def test_terms_without_their_data_are_absent(world, film):
    losses, _ = world.compute_total_loss(film.frames, film.actions)
    assert OURS - set(losses) == {"reward", "continuation"}


@pytest.mark.parametrize("length", [1, 2, 4])
def test_short_sequences_have_losses(world, make_film, length):
    losses = losses_of(world, make_film(length=length))
    assert losses["total"].isfinite()
    assert ("consistency" in losses) == (length > world.config.consistency_steps)
    assert ("token_prediction" in losses) == (length > 1)


def test_ends_teach_the_continuation_head(world, film):
    before = losses_of(world, film)["continuation"]
    goes_on = world.forward_sequence(film.frames, film.actions).predicted_continues[0, -1]
    logit = goes_on.logit().item()
    film.terminated[0, -1] = True
    # −log σ(−x) + log σ(x) = x, on one frame of twelve
    assert_close(losses_of(world, film)["continuation"].item() - before.item(), logit / 12)


def test_reconstruction_by_hand(world, film):
    patches = torch.zeros(12, 48, 8, 8).double()
    squared = (film.frames - world.pixels.mean).square().flatten(2).sum(-1)
    error = reconstruction_error(world, patches, film.frames)
    assert_close(error, 0.5 * world.pixels.precision * squared)


def test_latent_kl_by_hand():
    mean = torch.tensor([[1.0, 2.0]]).double()
    kl, bound = latent_kl(gaussian_prior(torch.zeros_like(mean)), mean, torch.ones_like(mean), 0.0)
    assert_close(bound, torch.tensor([2.5]).double())
    assert_close(kl, torch.tensor([2.75]).double())


def test_latent_kl_is_never_negative():
    prior = uneven_prior()
    for mean, std in ((prior.means[:, 0], 1.0), (prior.means[:, 1], 0.5), (prior.means[:, 0], 3.0)):
        _, bound = latent_kl(prior, mean, torch.full_like(mean, std), 0.0)
        assert (bound >= 0).all()


def test_free_nats_are_a_floor_without_gradient(make, film):
    world = make(free_nats=1e6)
    losses = losses_of(world, film)
    assert_close(losses["kl_latent"].item(), 1.1e6)
    assert_close(losses["consistency"].item(), 1e6)
    grads = torch.autograd.grad(losses["kl_latent"], list(world.parameters()), allow_unused=True)
    assert not any(g is not None and g.any() for g in grads)


def test_each_side_of_the_kl_teaches_its_own_part(world, film):
    losses = losses_of(world, film)
    mean = torch.zeros(1, 2).double().requires_grad_()
    goal = torch.ones(1, 2).double().requires_grad_()
    kl, _ = latent_kl(gaussian_prior(goal), mean, torch.ones_like(mean), 0.0, 0.1)
    kl.sum().backward()
    assert_close(mean.grad, torch.full_like(mean, -0.1))
    assert_close(goal.grad, torch.ones_like(goal))
    assert losses["kl_latent"] >= 0


def test_usage_is_zero_where_all_components_serve_alike():
    assert_close(usage_gap(torch.full((3, 5, 4), 0.25)), torch.tensor(0.0), rtol=0, atol=1e-6)
    assert_close(usage_gap(torch.eye(4)), torch.tensor(0.0), rtol=0, atol=1e-6)
    assert_close(usage_gap(torch.eye(4)[:1].expand(7, 4)), torch.tensor(math.log(4)))


def test_masked_mean_by_hand():
    x, keep = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    assert masked_mean(x, keep) == 3.5
    assert masked_mean(x, torch.zeros(3, dtype=torch.bool)) == 0


@pytest.fixture
def walk(make):
    """The prior always says N(0, 1); the posteriors' means are 0, 1, 2, 3 at the four frames."""
    world = make(scale=0, latent_dim=1, free_nats=0.0, consistency_steps=2, consistency_every=1)
    world.prior.infer = lambda h: gaussian_prior(torch.zeros_like(h[..., :1]))
    flat = world.initial_state(4)
    mean = torch.arange(4.0).double()[:, None]
    row = bare_belief(flat.hidden, flat.cell, mean, flat.context_hat)
    row = row._replace(mean=mean, std=torch.ones_like(mean))
    beliefs = row._replace(
        state=row.state._replace(hidden=row.state.hidden[None], cell=row.state.cell[None]),
        **{k: getattr(row, k)[None] for k in ("z", "mean", "std", "context_hat")},
    )
    film = SimpleNamespace(first=torch.tensor([[True, False, False, False]]))
    film.frames, film.actions = torch.zeros(1, 4, 3, 32, 32).double(), torch.zeros(1, 4, 2).double()
    return world, beliefs, film


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        # starts 0 and 1; one step ahead (½ + 2) / 2, two steps ahead (2 + 4½) / 2
        (None, (1.25 + 3.25) / 2),
        # the second step from 1 crosses into another episode
        (3, (1.25 + 2.0) / 2),
        # of all steps only the first from 0 stays in its episode
        (2, (0.5 + 0.0) / 2),
    ],
)
def test_consistency_by_hand(walk, reset, expected):
    world, beliefs, film = walk
    if reset:
        film.first[:, reset] = True
    data = SequenceData(film.frames, film.actions, film.first)
    assert_close(consistency_loss(world, beliefs, data).item(), expected)


def test_fit_reports_what_the_log_needs(fresh, film):
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    passed = fresh.fit(data_of(film), beta=0.5, tau=2.0)
    assert set(passed.metrics) >= {"kl_bound", "pixel_error", "codebook/perplexity"}
    assert set(passed.metrics) >= {f"loss/{n}" for n in OURS}
    assert not any(x.requires_grad for x in passed.metrics.values())
    assert not passed.beliefs.z.requires_grad
    codebook = [k for k, v in fresh.state_dict().items() if not torch.equal(v, before[k])]
    assert codebook
    assert all("tokenizer" in k for k in codebook)


def test_tau_flattens_the_bound(fresh, film):
    values = []
    for tau in (1.0, 5.0):
        torch.manual_seed(1)
        values.append(fresh.fit(data_of(film), tau=tau).losses.terms["kl_latent"])
    assert values[0] != values[1]


def test_unknown_weight_names_the_nearest(world, film):
    with pytest.raises(ConfigError, match=r"'diversty'.*Did you mean 'diversity'"):
        losses_of(world, film, diversty=1.0)


@pytest.mark.parametrize("name", ["rewards", "terminated"])
def test_targets_with_an_extra_dimension_are_refused(world, film, name):
    column = {name: getattr(film, name)[..., None]}
    with pytest.raises(ShapeError, match=rf"{name}: 2 dimensions .*One number per frame"):
        world.compute_total_loss(film.frames, film.actions, **column)


def moving_film():
    """Two windows of two frames: one pixel of 32² changes by 0.5 in the first, none in the second."""
    frames = torch.zeros(2, 2, 3, 32, 32).double()
    frames[0, 1, :, 4, 5] = 0.5
    first = torch.tensor([[True, False], [True, False]])
    return SequenceData(frames, torch.zeros(2, 2, 2).double(), first)


def test_motion_weights_by_hand():
    weights = motion_weights(moving_film(), torch.arange(4), 3.0)
    assert_close(weights[[0, 2, 3]], torch.ones(3, 1024).double())
    assert_close(weights[1, 4 * 32 + 5].item(), (1 + 3 * 1024) / 4)
    assert_close(weights[1, 0].item(), 1 / 4)
    assert_close(weights.mean(1), torch.ones(4).double())


def test_motion_is_not_read_across_an_episode():
    data = moving_film()
    weights = motion_weights(data._replace(is_first=torch.ones(2, 2).bool()), torch.arange(4), 3.0)
    assert_close(weights, torch.ones(4, 1024).double())


def test_slot_motion_acts_on_the_slot_loss_where_something_moves(make, film):
    data = moving_film()
    slots = torch.randn(2, 2, 3, 24).double()
    plain, moved = (make(slot_motion=m, slot_every=1, slot_pixels=1024) for m in (0.0, 3.0))
    target = plain.pixels.center(data.observations.flatten(0, 1)).flatten(2).mT
    rgb, _ = plain.slot_decoder.render(slots.flatten(0, 1), 32, 32)
    squared = (rgb.flatten(2).mT - target).square().sum(-1)
    weights = motion_weights(data, torch.arange(4), 3.0)
    half = 0.5 * plain.pixels.precision
    assert_close(slot_pixels(plain, data, slots), (half * squared.sum(1)).mean())
    assert_close(slot_pixels(moved, data, slots), (half * (weights * squared).sum(1)).mean())


def test_negative_slot_motion_is_named(make):
    with pytest.raises(ConfigError, match=r"slot_motion must be at least 0, found -1"):
        make(slot_motion=-1.0)


def test_attention_target_is_the_distance_to_what_changes(make, film):
    world = make(attention_target="change")
    out = world.compute_total_loss(film.frames, film.actions, is_first=film.first)
    target = change_maps(film.frames, world.pixels.mean, film.first, 8)
    seen = out[1].beliefs.log_evidence.exp() * 0.99 + 0.01 / 64
    by_hand = (target * (target.clamp_min(1e-30).log() - seen.log())).sum((-2, -1)).mean()
    assert_close(out[0]["attention_target"], by_hand)


def test_attention_target_teaches_slots_and_nothing_that_dreams(make, film):
    world = make(attention_target="change")
    losses, _ = world.compute_total_loss(film.frames, film.actions, is_first=film.first)
    losses["attention_target"].backward()
    touched = {n.split(".")[0] for n, p in world.named_parameters() if p.grad is not None}
    assert {"slots", "trunk"} <= touched
    assert touched.isdisjoint({"decoder", "prior", "attention_prior", "slot_decoder"})


def test_attention_target_turns_the_map_to_what_moves(make):
    """One square walks over a still picture; forty steps of the term alone find it."""
    world = make(scale=0, attention_target="change").train()
    frames = torch.full((1, 4, 3, 32, 32), 0.5).double()
    for t in range(4):
        frames[0, t, :, 8:16, 4 * t + 4 : 4 * t + 12] = 1.0
    actions = torch.zeros(1, 4, 2).double()
    optimizer = torch.optim.Adam([*world.slots.parameters(), *world.trunk.parameters()], lr=0.01)
    found = []
    for _ in range(40):
        losses, _ = world.compute_total_loss(frames, actions)
        optimizer.zero_grad()
        losses["attention_target"].backward()
        optimizer.step()
        found.append(losses["attention_target"].item())
    assert found[-1] < 0.5 * found[0]
