"""Weak places of the seed documents that only the joined model can mend."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from aime_agent.attention import SlotFilter
from aime_agent.world_model import preset
from aime_agent.world_model.losses import SequenceData, slot_terms
from aime_agent.world_model.sequence import pass_over


def sequence(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


@pytest.fixture
def beliefs(world, film):
    with torch.no_grad():
        return pass_over(world, sequence(film), sample=False).beliefs


@torch.no_grad()
def test_decoder_reads_the_predicted_map_and_never_the_seen_one(world, beliefs):
    frames = world.decode(beliefs)
    noise = torch.rand_like(beliefs.attention)
    other = beliefs._replace(attention=noise, log_evidence=noise.log())
    assert_close(world.decode(other), frames, rtol=0, atol=0)
    moved = beliefs._replace(log_attention_hat=beliefs.log_attention_hat.roll(3, -1))
    assert (world.decode(moved) - frames).abs().max() > 1e-4


@torch.no_grad()
def test_diversity_is_the_mean_over_frames_and_not_copies_of_the_last(world, film, beliefs):
    slots, cells = beliefs.responsibilities.shape[-2:]
    alike = torch.full((2, 6, slots, cells), 1 / slots).double()
    apart = torch.zeros(2, 1, slots, cells).double()
    for s in range(slots):
        apart[:, :, s, s::slots] = 1
    shares = torch.cat([alike[:, :2], apart.expand(-1, 4, -1, -1)], dim=1)
    found = slot_terms(world, sequence(film), beliefs._replace(responsibilities=shares))
    assert found["diversity"].item() == pytest.approx(2 / 6)


@torch.no_grad()
def test_posterior_reads_the_recurrent_state(world, film):
    state = world.initial_state(2)
    other = state._replace(hidden=state.hidden + 0.5)
    means = [world.infer(s, film.frames[:, 0]).mean for s in (state, other)]
    assert (means[0] - means[1]).abs().max() > 1e-3


def test_gradient_reaches_the_tokenizer_through_its_codes(make, film):
    model = make()
    context = model.extract_context(film.frames)
    context.square().sum().backward()
    tokenizer = model.perceiver.tokenizer
    assert tokenizer.project.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in tokenizer.decoder.parameters())
    assert model.extract_context(film.frames, detach=True).requires_grad is False


@pytest.mark.parametrize("name", ["tiny", "small", "base", "seed84"])
def test_nothing_drops_out_of_the_slots(name):
    slots = SlotFilter(preset(name).slots_config())
    assert not [m for m in slots.modules() if isinstance(m, nn.Dropout)]
