"""The doctor's rows about what is in use: the numbers are the diagnostics', dead parts are told."""

import math

import pytest
import torch
from laws import randomised

from aime_agent.training.health import health_rows
from aime_agent.world_model import AimeWorldModel, preset
from aime_agent.world_model.diagnostics import diagnose
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.sequence import pass_over


def make(**changes):
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=32, action_dim=2, **changes))
    model.begin(torch.rand(32, 3, 32, 32))
    return randomised(model, 0.2).eval()


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(0)
    first = torch.zeros(2, 8, dtype=torch.bool)
    first[:, 0] = True
    frames = torch.rand(2, 8, 3, 32, 32, generator=g)
    return SequenceData(frames, torch.rand(2, 8, 2, generator=g), first)


def rows_of(model, data):
    return {name: (text, ok, remedy) for name, text, ok, remedy in health_rows(model, data)}


def test_rows_say_what_the_diagnostics_say(model, data):
    rows = rows_of(model, data)
    with torch.no_grad():
        found = diagnose(pass_over(model, data, sample=False), data)
    components = found["mixture/effective_components"]
    assert rows["mixture"][0].startswith(f"{components:.2f} of 5 components in use")
    assert f"perplexity {found['codebook/perplexity']:.0f} of 64" in rows["codebook"][0]
    assert f"uniform {math.log(64):.2f}" in rows["attention"][0]
    assert f"{found['slots/effective']:.2f} of 3 share" in rows["slots"][0]
    assert "nats by Monte Carlo" in rows["bound"][0]


def test_a_collapsed_codebook_is_ill(model, data):
    assert rows_of(model, data)["codebook"][1]
    broken = randomised(model, 0.0)
    codebook = broken.perceiver.tokenizer.quantizer.codebook
    codebook.copy_(codebook[:, :1].expand_as(codebook) + 1e3)
    codebook[:, 0] -= 1e3
    text, ok, remedy = rows_of(broken, data)["codebook"]
    assert "perplexity 1 of 64" in text
    assert not ok
    assert "fsq" in remedy


def test_a_uniform_map_is_ill(model, data):
    broken = randomised(model, 0.0)
    broken.slots.binding.to_q.weight.data.zero_()
    text, ok, remedy = rows_of(broken, data)["attention"]
    assert f"entropy {math.log(64):.2f} ± 0.00" in text
    assert not ok
    assert "uniform" in remedy


def test_movement_predicted_worse_than_none_shows_and_is_not_called_ill(model, data):
    broken = randomised(model, 0.0)
    broken.slots.score.weight.data.mul_(40)
    broken.slots.binding.to_q.weight.data.mul_(40)
    broken.attention_prior.head.bias.data[1:] = 50.0
    text, ok, _ = rows_of(broken, data)["attention"]
    assert "skill of the predicted movement over none -" in text
    assert ok


def test_parts_that_the_model_lacks_have_no_row(data):
    bare = make(use_attention=False, use_slots=False, context="none")
    assert set(rows_of(bare, data)) == {"mixture", "bound"}
