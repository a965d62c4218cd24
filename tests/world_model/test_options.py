"""Options that are off by default: each acts, learns, and is refused where it cannot work."""

import importlib.util

import pytest
import torch
from torch import nn

from aime_agent.errors import ConfigError
from aime_agent.functional.correspondence import match, squared_distances
from aime_agent.functional.likelihood import discretised_logistic
from aime_agent.layers.conv import unpatchify
from aime_agent.optimization import RGB, PlainSum
from aime_agent.world_model.losses import SequenceData, reconstruction_error
from aime_agent.world_model.presets import preset


def data_of(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


def gradient(world, film):
    """Weights of the tasks, and the joined gradient."""
    world.zero_grad()
    torch.manual_seed(0)
    balancer = world.make_balancer()
    weights = balancer.backward(world.fit(data_of(film)).losses.per_task())
    return weights, torch.cat([p.grad.flatten() for p in world.parameters() if p.grad is not None])


# ---------------------------------------------------------------------- balancers


def test_use_rgb_decides_where_no_balancer_is_named(make):
    assert isinstance(make(scale=0, use_rgb=True).make_balancer(), RGB)
    assert isinstance(make(scale=0, use_rgb=False).make_balancer(), PlainSum)
    named = make(scale=0, use_rgb=False, balancer="norm_mean_ema", rgb={"mu": 0.5}).make_balancer()
    assert (named.config.aggregate, named.config.mu) == ("consensus", 0.5)
    assert isinstance(make(scale=0, use_rgb=True, balancer="sum").make_balancer(), PlainSum)


@pytest.mark.skipif(importlib.util.find_spec("torchjd") is None, reason="needs the extra torchjd")
@pytest.mark.parametrize("name", ["upgrad", "pcgrad", "cagrad", "mgda", "nash_mtl"])
def test_world_model_trains_with_a_rival(make, film, name):
    plain_weights, plain = gradient(make(scale=0), film)
    weights, joined = gradient(make(scale=0, balancer=name), film)
    assert joined.isfinite().all()
    assert joined.shape == plain.shape
    assert not torch.allclose(joined, plain)
    assert (weights[:3] > 0).all()
    assert (plain_weights[:3] == 1).all()


# ---------------------------------------------------------------------- quantisers

FINITE = {"quantizer": "fsq", "levels": (4, 4, 4)}


def learnt(world, film, steps=60, rate=3e-3):
    """Mean of each loss term over the first and the last five steps on one batch."""
    world.train()
    adam, history = torch.optim.Adam(world.parameters(), rate), []
    torch.manual_seed(0)
    for _ in range(steps):
        losses = world.fit(data_of(film)).losses
        adam.zero_grad()
        losses.total.backward()
        adam.step()
        history.append({k: v.item() for k, v in losses.terms.items()})
    return [
        {k: sum(h[k] for h in part) / 5 for k in history[0]} for part in (history[:5], history[-5:])
    ]


def test_fixed_grid_of_codes_learns_in_the_world_model(make, film):
    world = make(scale=0, perceiver=FINITE)
    assert world.perceiver.predictor.config.num_codes == 64
    ids = world.forward_sequence(film.frames, film.actions).tokens.ids
    assert ids.max() < 64
    assert len(ids.unique()) > 3
    before, after = learnt(world, film)
    assert before["commitment"] == after["commitment"] == 0
    assert after["token_reconstruction"] < 0.9 * before["token_reconstruction"]
    assert after["token_prediction"] < before["token_prediction"]


def test_code_gradient_acts_on_the_trunk_alone(make, film):
    grads = []
    for choice in ("straight_through", "rotation"):
        world = make(perceiver={"code_gradient": choice}).train()
        torch.manual_seed(0)
        terms = world.fit(data_of(film)).losses.terms
        grads.append(torch.autograd.grad(terms["token_reconstruction"], world.trunk.stem.weight)[0])
        value = terms["token_reconstruction"].item()
        grads.append(torch.tensor(value))
    assert grads[1] == grads[3]
    assert not torch.allclose(grads[0], grads[2])


# ---------------------------------------------------------------------- likelihood


def eight_bits(film):
    film.frames = (film.frames * 255).round() / 255
    return film


def test_logistic_reconstruction_by_hand(make, film):
    world = make(likelihood="logistic")
    target = eight_bits(film).frames
    patches = 0.1 * torch.randn(12, 48, 8, 8).double()
    decoded = unpatchify(patches, 4, (32, 32)) + world.pixels.mean
    scale = world.likelihood.log_scale[:, None, None]
    nats = -discretised_logistic(target.flatten(0, 1), decoded, scale).flatten(1).sum(1)
    found = reconstruction_error(world, patches, target)
    torch.testing.assert_close(found, nats.view(2, 6))


def test_logistic_likelihood_learns_its_scale_and_pixels(make, film):
    world = make(scale=0, likelihood="logistic")
    start = world.likelihood.log_scale.clone()
    film.frames = eight_bits(film).frames.mean((2,), keepdim=True).expand_as(film.frames)
    before, after = learnt(world, film, steps=40)
    assert after["reconstruction"] < before["reconstruction"]
    assert (world.likelihood.log_scale != start).all()
    metrics = world.fit(data_of(film)).metrics
    assert "pixel_error" not in metrics
    nats = metrics["loss/reconstruction"]
    torch.testing.assert_close(
        metrics["bits_per_dimension"], nats / (3 * 32 * 32 * torch.tensor(2.0).log().double())
    )


# ---------------------------------------------------------------------- slots


def swap_at(binding, frame):
    """Plants a corrector that hands two slots back in each other's place, once."""
    iterate, calls = binding.iterate, iter(range(1000))

    def swapping(*args):
        out = iterate(*args)
        order = [1, 0, 2] if next(calls) == frame else [0, 1, 2]
        return type(out)(*(x[:, order] for x in out))

    binding.iterate = swapping


@torch.no_grad()
def test_matched_slots_stay_with_their_predictions(make, film):
    """Two slots change places at frame 3: matching puts them back, and nobody sees a difference."""
    swaps, slots = {}, {}
    for identity in ("index", "matched"):
        world = make(slots={"identity": identity})
        slots[identity] = world.forward_sequence(film.frames, film.actions).beliefs.slots
        swap_at(world.slots.binding, 3)
        beliefs = world.forward_sequence(film.frames, film.actions).beliefs
        order = match(squared_distances(beliefs.slots_hat, beliefs.slots))[:, 1:]
        swaps[identity] = (order != torch.arange(3)).any(-1).sum().item()
    assert swaps == {"index": 2, "matched": 0}
    assert torch.equal(slots["index"], slots["matched"])
    torch.testing.assert_close(beliefs.slots, slots["matched"])


def reached(world, film):
    """Pixels that the keys of the cell at row 2, column 2 depend on, without the norms' statistics."""
    world.trunk.norms = nn.ModuleList(nn.Identity() for _ in range(3))
    frame = film.frames[:1, :1].clone().requires_grad_()
    evidence, _, _ = world.perceive(frame, film.first[:1, :1], world.initial_cache(1))
    evidence.keys[0, 0, 2 * 8 + 2].square().sum().backward()
    rows, columns = frame.grad[0, 0].abs().sum(0).nonzero(as_tuple=True)
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


def test_slots_see_further_with_two_resolutions(make, film):
    """A cell of 32 / 8 = 4 pixels; the middle map's two nearest cells span patches 0 to 5."""
    assert reached(make(), film) == (8, 11, 8, 11)
    assert reached(make(multi_resolution=True), film) == (0, 19, 0, 19)


def test_coarse_map_learns(make, film):
    world = make(multi_resolution=True).train()
    world.fit(data_of(film)).losses.terms["slot_reconstruction"].backward()
    assert world.slots.embed_coarse.weight.grad.abs().max() > 0


@torch.no_grad()
def test_retrieval_finds_the_slot_it_asks_for(world, film):
    beliefs = world.forward_sequence(film.frames, film.actions).beliefs
    view = world.attend(beliefs)
    for k in range(3):
        found = world.retrieve(beliefs, view.slots[..., k, :], temperature=1e-3)
        torch.testing.assert_close(found.slot, view.slots[..., k, :], rtol=0, atol=1e-2)
        torch.testing.assert_close(found.map, view.slot_maps[..., k, :, :], rtol=0, atol=1e-2)
        torch.testing.assert_close(found.center, view.centers[..., k, :], rtol=0, atol=1e-2)
    flat = world.retrieve(beliefs, view.slots[..., 0, :], temperature=1e6)
    torch.testing.assert_close(flat.slot, view.slots.mean(-2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(flat.map.sum((-2, -1)), torch.ones(2, 6).double())


def test_retrieval_is_differentiable_and_works_in_dreams(world, film):
    belief = world.infer(world.initial_state(2), film.frames[:, 0], film.first[:, 0])
    dream = world.imagine(world.advance(belief, film.actions[:, 0]))
    query = torch.randn(2, 24).double().requires_grad_()
    world.retrieve(dream, query).center.sum().backward()
    assert query.grad.abs().max() > 0
    with pytest.raises(ValueError, match="temperature must be positive"):
        world.retrieve(belief, query, temperature=0.0)


def test_retrieval_needs_slots(make, film):
    world = make(use_slots=False)
    belief = world.infer(world.initial_state(2), film.frames[:, 0], film.first[:, 0])
    with pytest.raises(ValueError, match="use_slots=False"):
        world.retrieve(belief, torch.zeros(2, 24).double())


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"multi_resolution": True, "use_slots": False}, "multi_resolution needs use_slots"),
        ({"balancer": "mgda", "rgb": {"mu": 0.5}}, r"rgb must be empty with balancer 'mgda'"),
        (
            {"attention_target": "change", "use_attention": False},
            "attention_target needs use_attention and use_slots, found False and True",
        ),
    ],
)
def test_setting_that_cannot_act_is_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        preset("tiny", **settings)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("balancer", "upgrd", r"balancer 'upgrd' is unknown.*'upgrad'"),
        ("likelihood", "gauss", r"likelihood must be 'mse' or 'logistic', found 'gauss'"),
        ("attention_target", "faces", r"must be 'none' or 'change', found 'faces'"),
    ],
)
def test_unknown_choice_names_the_nearest(field, value, words):
    config = preset("tiny")
    object.__setattr__(config, field, value)  # as a file's value, which no type checker saw
    with pytest.raises(ConfigError, match=words):
        config.__post_init__()


def test_goals_do_not_reach_the_world_model():
    with pytest.raises(ConfigError, match=r"goal_dim must be 0.*Use an AttentionPrior by itself"):
        preset("tiny", attention_prior={"goal_dim": 2}).attention_prior_config()
