"""Dreams: open-loop prediction, its conventions, and the one loop behind it."""

import pytest
import torch

from aime_agent.errors import ShapeError
from aime_agent.world_model.state import map_tree, stack_beliefs

SEEN, HORIZON = 3, 3


@pytest.fixture
def belief(world, film):
    with torch.no_grad():
        return world.forward_sequence(film.frames, film.actions).last


@pytest.fixture
def noise(world):
    g = torch.Generator().manual_seed(7)
    normal = torch.randn(2, HORIZON, world.config.latent_dim, generator=g, dtype=torch.float64)
    return normal, torch.rand(2, HORIZON, generator=g, dtype=torch.float64)


def predict(world, film, **kw):
    kw = {"future_actions": film.actions[:, SEEN - 1 : SEEN - 1 + HORIZON]} | kw
    torch.manual_seed(3)
    return world.predict_future(film.frames[:, :SEEN], film.actions[:, : SEEN - 1], **kw)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a is not None)


@pytest.mark.parametrize("deterministic", [True, False])
def test_prediction_reads_no_later_frame(world, film, deterministic):
    before = predict(world, film, deterministic=deterministic)
    film.frames[:, SEEN:] = torch.rand_like(film.frames[:, SEEN:])
    assert same(before, predict(world, film, deterministic=deterministic))
    film.frames[:, SEEN - 1] = torch.rand_like(film.frames[:, 0])
    after = predict(world, film, deterministic=deterministic)
    moved = [(a - b).abs().max() for a, b in zip(before, after, strict=True)]
    assert min(moved) > 1e-4, dict(zip(before._fields, moved, strict=True))


@torch.no_grad()
def test_prediction_by_hand(world, film):
    state = world.initial_state(2)
    for t in range(SEEN):
        belief = world.infer(state, film.frames[:, t], film.first[:, t])
        state = world.advance(belief, film.actions[:, t])
    dreams = []
    for t in range(SEEN, SEEN + HORIZON):
        dreams.append(world.imagine(state, temperature=0.0))
        state = world.advance(dreams[-1], film.actions[:, t])
    future, whole = predict(world, film, deterministic=True), stack_beliefs(dreams)
    close = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(future.latents, whole.z, **close)
    torch.testing.assert_close(future.observations, world.decode(whole), **close)
    torch.testing.assert_close(future.rewards, world.reward(whole), **close)
    torch.testing.assert_close(future.slots, whole.slots, **close)
    torch.testing.assert_close(future.attention_maps, whole.attention, **close)


@pytest.mark.parametrize("k", range(HORIZON))
def test_future_action_k_precedes_predicted_frame_k(world, film, k):
    before = predict(world, film, deterministic=True)
    film.actions[:, SEEN - 1 + k] *= -1
    after = predict(world, film, deterministic=True)
    assert torch.equal(before.latents[:, :k], after.latents[:, :k])
    assert (before.mixture_weights[:, k] - after.mixture_weights[:, k]).abs().max() > 1e-4


def test_surplus_action_is_the_first_future_action(world, film):
    frames = film.frames[:, :SEEN]
    plain = predict(world, film, deterministic=True)
    rest = film.actions[:, SEEN : SEEN + HORIZON - 1]
    surplus = world.predict_future(frames, film.actions[:, :SEEN], rest, deterministic=True)
    assert same(plain, surplus)
    alone = world.predict_future(frames, film.actions[:, :SEEN], deterministic=True)
    assert torch.equal(alone.latents, plain.latents[:, :1])


def test_policy_sees_features_and_acts_like_its_actions(world, film):
    width, seen = world.config.action_dim, []
    film.actions[:, SEEN - 1 :] = 0.5

    def policy(features):
        seen.append(features.shape)
        return features.new_full((len(features), width), 0.5)

    acted = predict(
        world, film, future_actions=None, policy=policy, horizon=HORIZON, deterministic=True
    )
    assert same(acted, predict(world, film, deterministic=True))
    assert seen == [(2, world.config.feature_dim)] * HORIZON


@pytest.mark.parametrize(
    ("kw", "words"),
    [
        ({"future_actions": None}, "future_actions or policy must be given"),
        ({"policy": lambda f: f[:, :2], "horizon": 2}, "exclude each other"),
        ({"future_actions": None, "policy": lambda f: f[:, :2]}, "horizon must be at least 1"),
        ({"horizon": HORIZON + 1}, "between 1 and the 3 future actions, found 4"),
        ({"num_samples": 0}, "num_samples must be at least 1, found 0"),
    ],
)
def test_prediction_refuses_unclear_futures(world, film, kw, words):
    with pytest.raises(ValueError, match=words):
        predict(world, film, **kw)


def test_prediction_refuses_wrong_shapes(world, film):
    frames, actions = film.frames, film.actions
    with pytest.raises(ShapeError, match="3 frames have 2 actions between them"):
        world.predict_future(frames[:, :3], actions[:, :1], actions)
    with pytest.raises(ShapeError, match="observations: 5 dimensions required"):
        world.predict_future(frames[:, 0], actions[:, :0], actions)
    with pytest.raises(ShapeError, match=r"observations: dimension 2 .*Channels come first"):
        world.predict_future(frames.movedim(2, -1), actions, actions)
    with pytest.raises(ShapeError, match="actions: dimension 2 must be 2, found 1"):
        world.predict_future(frames[:, :3], actions[:, :2, :1], actions[..., :1])


def test_samples_have_their_own_axis(world, film):
    one, four = predict(world, film), predict(world, film, num_samples=4)
    for name, x, y in zip(one._fields, one, four, strict=True):
        assert y.shape == (2, 4, *x.shape[1:]), name
    assert one.observations.shape == (2, HORIZON, 3, 32, 32)
    assert (four.latents[:, 0] - four.latents[:, 1]).abs().max() > 1e-2
    sure = predict(world, film, num_samples=4, deterministic=True)
    assert torch.equal(sure.latents, sure.latents[:, :1].expand_as(sure.latents))


def test_shorter_horizon_is_a_prefix(world, film):
    long, short = (predict(world, film, horizon=h, deterministic=True) for h in (None, 2))
    assert torch.equal(long.latents[:, :2], short.latents)


def test_prediction_without_decoding_has_the_same_latents(world, film):
    bare, full = predict(world, film, decode=False), predict(world, film)
    assert bare.observations is bare.slots is bare.attention_maps is None
    assert torch.equal(bare.latents, full.latents)
    assert torch.equal(bare.rewards, full.rewards)


@torch.no_grad()
def test_temperature_zero_is_the_mean_of_the_heaviest_component(world, film, belief):
    state = world.advance(belief, film.actions[:, -1])
    prior = world.prior.infer(torch.cat([state.hidden, state.context_hat], -1))
    heaviest = prior.means[torch.arange(2), prior.log_pi.argmax(-1)]
    assert torch.equal(world.imagine(state, temperature=0.0).z, heaviest)
    assert (prior.moments().mean - heaviest).abs().max() > 1e-2
    noise = torch.zeros_like(heaviest), torch.zeros_like(heaviest[:, 0])
    assert torch.equal(world.imagine(state, 1.0, noise).z, prior.means[:, 0])


@torch.no_grad()
def test_rollout_equals_imagine_and_advance_by_hand(world, film, belief, noise, named):
    actions = film.actions[:, :HORIZON]
    path = world.rollout(belief, actions, HORIZON, noise, attend=True)
    by_hand = belief
    for k in range(HORIZON):
        state = world.advance(by_hand, actions[:, k])
        by_hand = world.imagine(state, noise=(noise[0][:, k], noise[1][:, k]))
        for name, leaf in named(path.beliefs[k]).items():
            assert torch.equal(leaf, named(by_hand)[name]), (k, name)
        assert torch.equal(path.features[:, k + 1], by_hand.features)
    assert torch.equal(path.features[:, 0], belief.features)
    assert torch.equal(path.actions, actions)


@torch.no_grad()
def test_attending_changes_no_feature(world, film, belief, noise):
    actions = film.actions[:, :HORIZON]
    blind, seeing = (
        world.rollout(belief, actions, HORIZON, noise, attend=a) for a in (False, True)
    )
    assert torch.equal(blind.features, seeing.features)
    assert blind.beliefs[-1].slots is None
    assert seeing.beliefs[-1].slots is not None


@torch.no_grad()
def test_attention_and_slots_of_a_dream_move_on(world, film, belief, noise):
    path = world.rollout(belief, film.actions[:, :HORIZON], HORIZON, noise, attend=True)
    view = world.attend(stack_beliefs(path.beliefs))
    assert (view.slots[:, 0] - view.slots[:, -1]).abs().max() > 1e-3
    assert (view.map[:, 0] - view.map[:, -1]).abs().max() > 1e-5
    for x in (view.map.sum((-2, -1)), view.slot_maps.sum((-2, -1)), view.mass.sum(-1)):
        torch.testing.assert_close(x, torch.ones_like(x))


@torch.no_grad()
@pytest.mark.parametrize("attend", [True, False])
def test_dreams_in_a_batch_equal_singles(world, film, belief, noise, named, attend):
    actions = film.actions[:, :HORIZON]
    both = named(world.rollout(belief, actions, HORIZON, noise, attend=attend).beliefs[-1])
    for b in range(2):
        row = slice(b, b + 1)
        start = map_tree(lambda x, row=row: x[row], belief)
        alone = world.rollout(
            start, actions[row], HORIZON, (noise[0][row], noise[1][row]), attend=attend
        )
        for name, leaf in named(alone.beliefs[-1]).items():
            torch.testing.assert_close(leaf, both[name][row], rtol=0, atol=1e-9, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("verb", ["decode", "attend", "slot_masks"])
def test_looking_at_a_blind_dream_names_the_remedy(world, film, belief, verb):
    blind = world.rollout(belief, film.actions[:, :2], 2).beliefs[-1]
    with pytest.raises(ValueError, match="roll out with attend=True"):
        getattr(world, verb)(blind)


@torch.no_grad()
def test_rollout_refuses_actions_that_do_not_fit(world, film, belief):
    with pytest.raises(ShapeError, match=r"dimension 1 must be 5, found 3.*one action per step"):
        world.rollout(belief, film.actions[:, :3], 5)


def test_gradient_flows_through_a_dream_to_its_actions(world, film, belief, noise):
    actions = film.actions[:, :HORIZON].clone().requires_grad_()
    path = world.rollout(belief, actions, HORIZON, noise)
    world.reward(path.beliefs[-1]).sum().backward()
    assert (actions.grad.abs().amax((0, 2)) > 0).all()
