"""Frame by frame, in chunks or all at once: the same numbers; a reset forgets everything."""

import pytest
import torch

from aime_agent.world_model.sequence import filter_sequence
from aime_agent.world_model.state import stack_beliefs

CLOSE = 1e-9


@pytest.fixture
def resets(film):
    """Row 0 begins anew at frame 4, row 1 at frames 2 and 3."""
    film.first[0, 4] = film.first[1, 2] = film.first[1, 3] = True
    return film


def stream(world, film):
    state, beliefs = world.initial_state(len(film.frames)), []
    for t in range(film.frames.shape[1]):
        beliefs.append(world.infer(state, film.frames[:, t], film.first[:, t]))
        state = world.advance(beliefs[-1], film.actions[:, t])
    return beliefs


def inferred(tree, named):
    return {k: v for k, v in named(tree).items() if "ring" not in k}


def farthest(moved, one, other, frames=slice(None)):
    return {k: d for k, d in moved(one, other, frames).items() if not d < CLOSE}


@torch.no_grad()
def test_frame_by_frame_equals_the_whole_sequence(world, resets, named, moved):
    whole = world.forward_sequence(resets.frames, resets.actions, resets.first)
    steps = stream(world, resets)
    each = stack_beliefs(steps)
    assert farthest(moved, inferred(whole.beliefs, named), inferred(each, named)) == {}
    assert torch.equal(whole.last.ring_valid, steps[-1].ring_valid)
    torch.testing.assert_close(whole.last.ring, steps[-1].ring, rtol=0, atol=CLOSE)
    torch.testing.assert_close(whole.reconstructions, world.decode(each), rtol=0, atol=CLOSE)
    torch.testing.assert_close(whole.predicted_rewards, world.reward(each), rtol=0, atol=CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_chunks_equal_the_whole_sequence(world, resets, named, moved, cut):
    parts = (resets.frames, resets.actions, resets.first)
    whole, last, _ = filter_sequence(world, *parts)
    a, end, _ = filter_sequence(world, *(x[:, :cut] for x in parts))
    state = world.advance(end, resets.actions[:, cut - 1])
    b, b_last, _ = filter_sequence(world, *(x[:, cut:] for x in parts), state=state)
    first, second, whole = (inferred(x, named) for x in (a, b, whole))
    joined = {k: torch.cat([first[k], second[k]], 1) for k in whole}
    assert farthest(moved, whole, joined) == {}
    torch.testing.assert_close(b_last.ring, last.ring, rtol=0, atol=CLOSE)


@torch.no_grad()
def test_reset_equals_a_fresh_start(world, film, leaves, moved):
    fresh = leaves(world.forward_sequence(film.frames[:, 3:], film.actions[:, 3:]))
    film.first[:, 3] = True
    for first, same in ((film.first, True), (None, False)):
        out = leaves(world.forward_sequence(film.frames, film.actions, first))
        gap = moved({k: v[:, 3:] for k, v in out.items()}, fresh)
        assert (max(gap.values()) < CLOSE) == same
    assert gap["z"] > 1e-3


@torch.no_grad()
def test_reset_of_one_row_leaves_the_other_alone(world, film, leaves):
    before = leaves(world.forward_sequence(film.frames, film.actions, film.first))
    film.first[0, 3] = True
    after = leaves(world.forward_sequence(film.frames, film.actions, film.first))
    assert all(torch.equal(before[k][1], after[k][1]) for k in before)
    assert (before["z"][0, 3:] - after["z"][0, 3:]).abs().max() > 1e-3


@torch.no_grad()
def test_batch_equals_singles(world, film, leaves, moved):
    out = leaves(world.forward_sequence(film.frames, film.actions))
    for b in range(2):
        one = leaves(world.forward_sequence(film.frames[b : b + 1], film.actions[b : b + 1]))
        assert farthest(moved, {k: v[b : b + 1] for k, v in out.items()}, one) == {}


@torch.no_grad()
def test_infer_with_noise_in_a_batch_equals_singles(world, film, named):
    state, noise = world.initial_state(2), torch.randn(2, world.config.latent_dim).double()
    both = named(world.infer(state, film.frames[:, 0], film.first[:, 0], noise=noise))
    for b in range(2):
        row = slice(b, b + 1)
        one = world.infer(
            world.initial_state(1), film.frames[row, 0], film.first[row, 0], noise=noise[row]
        )
        for k, v in named(one).items():
            torch.testing.assert_close(v, both[k][row], rtol=0, atol=CLOSE, msg=k)


@torch.no_grad()
def test_first_frame_is_told_by_the_flag_alone(world, film):
    """Slots start from their queries at a first frame, from their own prediction elsewhere."""
    state, frame = world.initial_state(2), film.frames[:, 0]
    first = world.infer(state, frame, film.first[:, 0])
    unflagged = world.infer(state, frame)
    assert torch.equal(first.context, unflagged.context)
    assert (first.slots - unflagged.slots).abs().max() > 1e-3
