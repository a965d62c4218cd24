"""Ablations change what they say and nothing else; idle and busy parts are told apart."""

import numpy as np
import pytest
import torch
from laws import assert_equal, randomised

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.config import AgentConfig
from aime_agent.errors import CheckpointError
from aime_agent.representation.mixture import MixturePrior
from aime_agent.training.ablations import (
    ABLATIONS,
    Ablation,
    Terms,
    filter_without,
    heaviest,
    measure,
)
from aime_agent.training.pillars import changes, held_out, pillar_report, pillar_rows
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.presets import preset
from aime_agent.world_model.sequence import filter_sequence

ARMS = {arm.name: arm for arm in ABLATIONS}
WHOLE = Ablation("nothing", "")


@pytest.fixture(scope="module")
def agent():
    torch.manual_seed(0)
    world = preset("tiny", image_size=32, action_dim=2)
    made = AimeAgent(
        AgentSpec(task="toy", preset="tiny", image_size=32, world_model=world, agent=AgentConfig())
    )
    made.world_model = randomised(made.world_model, 0.2).eval()
    return made


@pytest.fixture(scope="module")
def batch(agent, toy):
    return held_out(agent, toy.ToyEnv(), windows=3, length=8, seed=0)


@pytest.fixture(scope="module")
def data(agent, batch):
    frames = agent.world_model.images(batch.observations)
    return SequenceData(frames, batch.actions, batch.is_first, batch.rewards, batch.terminated)


@torch.no_grad()
def test_taking_nothing_away_is_the_models_own_inference(agent, data):
    ours = filter_without(agent.world_model, data, WHOLE)
    theirs, _, _ = filter_sequence(
        agent.world_model, data.observations, data.actions, data.is_first
    )
    assert_equal(ours[:-2], theirs[:-2])


def test_rows_follow_the_time_convention(batch):
    first, ends = batch.is_first, torch.roll(batch.is_first.flatten(), -1)
    assert first[0, 0]
    assert not batch.rewards[first].any()
    assert not batch.actions.flatten(0, 1)[:-1][ends[:-1]].any()
    assert (batch.rewards[~first] < 0).all()


def test_held_out_episodes_depend_on_the_seed_only(agent, toy, batch):
    again = held_out(agent, toy.ToyEnv(), windows=3, length=8, seed=0)
    other = held_out(agent, toy.ToyEnv(), windows=3, length=8, seed=1)
    assert_equal(tuple(again), tuple(batch))
    assert not torch.equal(other.observations, batch.observations)


@pytest.mark.parametrize(
    ("arm", "touched"),
    [
        ("seen context", ("reconstruction", "kl", "reward", "open_loop", "slot_pixels")),
        ("predicted context", ("reconstruction", "kl", "reward", "open_loop", "slot_pixels")),
        ("mixture", ("kl", "open_loop")),
        ("recurrence", ("reconstruction", "kl", "reward", "open_loop", "slot_pixels")),
        ("attention", ("reconstruction", "kl", "reward", "open_loop", "slot_pixels")),
        ("slots", ("reconstruction", "kl", "reward", "open_loop", "slot_pixels")),
    ],
)
@torch.no_grad()
def test_an_arm_touches_what_it_can_influence(agent, data, arm, touched):
    whole, without = (measure(agent.world_model, data, a) for a in (WHOLE, ARMS[arm]))
    names = [n for n, a, b in zip(Terms._fields, whole, without, strict=True) if not a.equal(b)]
    assert tuple(names) == touched


@torch.no_grad()
def test_each_edit_reaches_the_belief(agent, data):
    run = lambda name: filter_without(agent.world_model, data, ARMS[name])  # noqa: E731
    even = run("attention").log_attention_hat.exp()
    torch.testing.assert_close(even, torch.full_like(even, 1 / 64))
    assert not run("slots").slots.any()
    assert not run("predicted context").context_hat.any()
    assert not run("seen context").context.any()
    hidden = run("recurrence").state.hidden
    torch.testing.assert_close(hidden, hidden[:1, :1].expand_as(hidden))


def test_heaviest_component_alone_by_hand():
    means = torch.tensor([[[0.0], [5.0]]])
    stick = torch.zeros(1, 1)
    weights = torch.tensor([[0.3, 0.7]]).log()
    prior = MixturePrior(weights, means, torch.ones(1, 2, 1), stick, stick, stick[0], stick[0])
    bound = heaviest(prior).kl_bound(torch.tensor([[4.0]]), torch.ones(1, 1))
    torch.testing.assert_close(bound, torch.tensor([0.5]))


def test_change_counts_only_if_large_in_nats_and_percent():
    base = torch.full((4,), 100.0)
    new = (base + 1.0, base + 0.9, base - 5.0, base, base + torch.tensor([8.0, 0, 0, 0]))
    found = changes(Terms(*[base] * 5), Terms(*new))
    assert [c.counts for c in found.values()] == [True, False, False, False, True]
    assert not changes(Terms(*[base / 1e4] * 5), Terms(*[base / 9e3] * 5))["kl"].counts
    assert found["reconstruction"].share == pytest.approx(0.01)
    assert found["slot_pixels"].error == pytest.approx(2.0)


def test_a_model_that_ignores_a_part_is_called_idle(agent, batch):
    model = randomised(agent.world_model, 0.0)
    model.encoder.recurrent.weight.data.zero_()
    model.decoder.strength.data.zero_()
    rows = {name: (ok, remedy) for name, _, ok, remedy in pillar_rows(model, batch)}
    assert not rows["without attention"][0]
    assert not rows["without slots"][0]
    assert rows["without attention"][1].startswith("idle: ")


def test_rows_have_what_the_command_prints(agent, batch):
    rows = pillar_rows(agent.world_model, batch)
    arms = [f"without {name}" for name in ARMS]
    health = ["mixture", "bound", "codebook", "attention", "slots"]
    assert [name for name, *_ in rows] == ["held-out loss", *arms, *health]
    assert rows[0][2]
    assert "24 frames" in rows[0][1]
    assert all("nats" in rows[0][1] and "%" in value for _, value, _, _ in rows[1 : len(arms) + 1])


def test_a_single_component_is_off_and_not_idle(batch):
    world = preset("tiny", image_size=32, action_dim=2, max_components=1)
    model = AimeAgent(
        AgentSpec(task="toy", preset="tiny", image_size=32, world_model=world, agent=AgentConfig())
    ).world_model
    rows = {name: (value, ok) for name, value, ok, _ in pillar_rows(model, batch)}
    assert "without mixture" not in rows
    assert rows["mixture"][0].startswith("off: one component")
    assert rows["mixture"][1]


def test_missing_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="run folder"):
        pillar_report(tmp_path / "nothing")


def test_pixels_of_a_dictionary_are_found(agent, toy):
    class Both(toy.ToyEnv):
        def current_observation(self):
            return {"pixels": super().current_observation(), "state": np.zeros(1)}

    assert held_out(agent, Both(), 1, 4, 0).observations.shape == (1, 4, 3, 32, 32)
