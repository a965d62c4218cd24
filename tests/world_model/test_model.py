"""The model as a module: modes, borders, copies, sizes that come from the world."""

import copy
import pickle

import pytest
import torch
from laws import assert_equal, is_deterministic, works_in_float64

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.spatial import coordinate_grid
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel, DPGMMVariationalRecurrentAutoencoder
from aime_agent.world_model.presets import preset
from aime_agent.world_model.state import Belief, map_tree


@torch.no_grad()
def test_eval_is_deterministic_and_takes_the_mean(world, film):
    is_deterministic(lambda: world.forward_sequence(film.frames, film.actions).beliefs)
    beliefs = world.forward_sequence(film.frames, film.actions).beliefs
    assert torch.equal(beliefs.z, beliefs.mean)


@torch.no_grad()
def test_training_samples(fresh, film):
    a, b = (fresh.forward_sequence(film.frames, film.actions).beliefs for _ in range(2))
    assert (a.z - b.z).abs().min() > 0
    spread = ((a.z - a.mean) / a.std).std()
    assert 0.7 < spread < 1.3


@torch.no_grad()
def test_sampling_can_be_chosen_per_call(world, film):
    state, frame, first = world.initial_state(2), film.frames[:, 0], film.first[:, 0]
    noise = torch.ones(2, world.config.latent_dim).double()
    mean, drawn, given = (
        world.infer(state, frame, first, **kw)
        for kw in ({"sample": False}, {"sample": True}, {"noise": noise})
    )
    assert torch.equal(mean.z, mean.mean)
    assert (drawn.z != mean.z).all()
    torch.testing.assert_close(given.z, mean.mean + mean.std)


@torch.no_grad()
def test_bytes_and_floats_are_the_same_frames(world, film):
    frames = (film.frames * 255).round().to(torch.uint8)
    one, two = (world.encode(x, film.actions) for x in (frames, frames.double() / 255))
    assert torch.equal(one, two)


@torch.no_grad()
def test_encode_and_extract_context_are_the_inference_path(world, film):
    beliefs = world.forward_sequence(film.frames, film.actions).beliefs
    assert torch.equal(world.encode(film.frames, film.actions), beliefs.mean)
    assert torch.equal(world.encode(film.frames)[:, 0], beliefs.mean[:, 0])
    torch.testing.assert_close(world.extract_context(film.frames), beliefs.context)


def test_extracted_context_keeps_its_graph_unless_told(world, film):
    assert world.extract_context(film.frames).requires_grad
    assert not world.extract_context(film.frames, detach=True).requires_grad


@torch.no_grad()
def test_heads_read_one_belief_as_they_read_many(world, film):
    beliefs = world.forward_sequence(film.frames, film.actions).beliefs
    one = Belief(*(x if x is None or isinstance(x, tuple) else x[:, 2] for x in beliefs))
    one = one._replace(state=map_tree(lambda x: x[:, 2], beliefs.state))
    verbs = (world.reward, world.continuation, world.decode, world.attend, world.slot_masks)
    for verb in verbs:
        many = verb(beliefs)
        expected = [x[:, 2] for x in (many if isinstance(many, tuple) else [many])]
        assert_equal(verb(one), expected, atol=1e-9)


@torch.no_grad()
def test_outputs_are_what_they_are_called(world, film):
    out = world.forward_sequence(film.frames, film.actions)
    assert 0 <= out.reconstructions.min() <= out.reconstructions.max() <= 1
    assert ((out.predicted_continues > 0) & (out.predicted_continues < 1)).all()
    for total in (out.attention_maps.sum((-2, -1)), out.slot_attention_maps.sum((-2, -1))):
        torch.testing.assert_close(total, torch.ones_like(total))
    assert (out.slot_centers.abs() <= 1).all()


@torch.no_grad()
def test_slot_masks_are_those_that_compose_the_slots_picture(world, film):
    beliefs = world.forward_sequence(film.frames, film.actions).beliefs
    masks = world.slot_masks(beliefs)
    assert masks.shape == (*film.actions.shape[:2], world.config.num_slots, *film.frames.shape[-2:])
    torch.testing.assert_close(masks.sum(2), torch.ones_like(masks[:, :, 0]))
    rgb, _ = world.slot_decoder.render(beliefs.slots.flatten(0, 1), *film.frames.shape[-2:])
    grid = coordinate_grid(*film.frames.shape[-2:], rgb).flatten(0, 1)
    own, _ = world.slot_decoder.components(beliefs.slots.flatten(0, 1), grid)
    mixed = torch.einsum("nspc,nsp->ncp", own, masks.flatten(0, 1).flatten(2))
    torch.testing.assert_close(mixed, rgb.flatten(2))


def test_fields_are_what_their_annotations_say(world, film, assert_fields):
    with torch.no_grad():
        state = world.initial_state(2)
        belief = world.infer(state, film.frames[:, 0], film.first[:, 0])
        dream = world.imagine(world.advance(belief, film.actions[:, 0]))
    for value in (state, belief, dream, world.attend(belief), world.attend(dream)):
        assert_fields(value)


def test_forward_creates_no_parameter(make, film):
    world = make(scale=0).train()
    before = {k: v.shape for k, v in world.state_dict().items()}
    world.fit(SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated))
    world.predict_future(film.frames, film.actions)
    assert {k: v.shape for k, v in world.state_dict().items()} == before


@torch.no_grad()
def test_model_survives_copying_after_use(make, film):
    world = make()
    expected = world.forward_sequence(film.frames, film.actions).beliefs
    for clone in (copy.deepcopy(world), pickle.loads(pickle.dumps(world))):
        assert_equal(clone.forward_sequence(film.frames, film.actions).beliefs, expected)


def test_model_works_in_float64_and_float32(make, film):
    world = make(scale=0)
    works_in_float64(world, lambda m: m.forward_sequence(film.frames, film.actions).beliefs)
    single = world.float()
    beliefs = single.forward_sequence(film.frames, film.actions).beliefs
    assert {x.dtype for x in (beliefs.z, beliefs.context, beliefs.slots)} == {torch.float32}


def test_begin_starts_from_the_background(make, film):
    world = make(scale=0)
    with torch.no_grad():
        world.begin(film.frames.flatten(0, 1))
        shown = world.forward_sequence(film.frames, film.actions).reconstructions
    torch.testing.assert_close(shown, world.pixels.mean.expand_as(shown))


def test_wrong_shapes_are_refused_with_a_remedy(world, film):
    frames, actions, state = film.frames, film.actions, world.initial_state(2)
    last = frames.movedim(2, -1)
    for call in (
        lambda: world.forward_sequence(last, actions),
        lambda: world.compute_total_loss(last, actions),
        lambda: world.encode(last, actions),
        lambda: world.extract_context(last),
        lambda: world.infer(state, last[:, 0]),
    ):
        with pytest.raises(ShapeError, match=r"observations?: dimension . must be 3, .*Channels"):
            call()
    with pytest.raises(ShapeError, match=r"actions: dimension 2 must be 2, found 1.*action_dim"):
        world.forward_sequence(frames, actions[..., :1])
    with pytest.raises(ShapeError, match=r"actions: dimension 1 must be 6, found 5.*per frame"):
        world.forward_sequence(frames, actions[:, :5])


SIZES = [
    {"image_size": 50},
    {"image_size": 84},
    {"action_dim": 21},
    {"max_components": 1},
    {"n_lstm_layers": 2},
    {"num_slots": 1},
    {"image_channels": 1},
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes_of_the_world(size):
    torch.manual_seed(0)
    small = {"image_size": 32, "action_dim": 2} | size
    world = AimeWorldModel(preset("tiny", **small))
    c = world.config
    frames = torch.rand(2, 5, c.image_channels, c.image_size, c.image_size)
    actions = torch.rand(2, 5, c.action_dim)
    losses, out = world.compute_total_loss(frames, actions, torch.rand(2, 5))
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in world.parameters())
    assert out.reconstructions.shape == frames.shape
    future = world.predict_future(frames[:, :3], actions[:, :2], actions[:, 2:])
    assert future.observations.shape == frames[:, 2:].shape
    assert future.mixture_weights.shape[-1] == c.max_components


def test_two_layers_remember_more_than_their_output(make, film):
    world = make(n_lstm_layers=2)
    assert world.initial_state(2).cell.shape == (2, 3 * 64)
    with torch.no_grad():
        belief = world.infer(world.initial_state(2), film.frames[:, 0], film.first[:, 0])
        state = world.advance(belief, film.actions[:, 0])
        other = belief._replace(state=belief.state._replace(cell=belief.state.cell + 1))
    assert (world.advance(other, film.actions[:, 0]).hidden - state.hidden).abs().max() > 1e-3


def test_seed_name_is_the_same_class():
    assert DPGMMVariationalRecurrentAutoencoder is AimeWorldModel


def test_too_small_images_are_refused():
    with pytest.raises(ConfigError, match=r"image_size must be at least 32, found 31"):
        AimeWorldModel(image_size=31)


@pytest.mark.parametrize("name", ["action_dim", "latent_dim", "hidden_dim", "max_components"])
def test_empty_sizes_are_refused_by_name(name):
    with pytest.raises(ConfigError, match=rf"{name} must be at least 1, found 0"):
        WorldModelConfig(**{name: 0})
