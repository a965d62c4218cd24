"""All options of the world model at once, in an agent: it learns, resumes, acts and is examined."""

import importlib.util

import numpy as np
import pytest
import torch
from laws import assert_equal

from aime_agent.training.ablations import ABLATIONS, measure
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel

OPTIONS = {
    "hierarchy": 4,
    "action_in_prior": True,
    "likelihood": "logistic",
    "multi_resolution": True,
    "balancer": "norm_mean_ema",
    "perceiver": {"quantizer": "fsq", "levels": [4, 4, 4]},
    "slots": {"identity": "matched"},
}


def learnt(agent, batch, updates=2):
    agent.begin(batch.observations.flatten(0, 1))
    for step in range(updates):
        metrics = agent.update(batch, step)
    assert all(torch.isfinite(v).all() for v in metrics.values())
    return agent


def test_agent_learns_and_resumes_with_every_option(make_agent, batch):
    first, second = (make_agent(world_model=OPTIONS) for _ in range(2))
    learnt(first, batch)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    assert_equal(first.update(batch, 2), second.update(batch, 2))
    assert_equal(first.state_dict(), second.state_dict())


def test_saved_world_says_the_same_with_every_option(make_agent, batch, tmp_path):
    world = learnt(make_agent(world_model=OPTIONS), batch).world_model.eval()
    world.save_pretrained(tmp_path)
    loaded = AimeWorldModel.from_pretrained(tmp_path)
    assert loaded.config == world.config
    futures = [
        w.predict_future(batch.observations, batch.actions, deterministic=True)
        for w in (world, loaded)
    ]
    assert_equal(*futures)


def test_agent_acts_with_every_option(make_agent, batch, frames):
    agent = learnt(make_agent(world_model=OPTIONS), batch)
    start, state, actions = np.ones(2, dtype=bool), None, []
    for _ in range(3):
        action, state = agent.predict(frames, state, start)
        actions.append(action)
        start = np.zeros(2, dtype=bool)
    assert np.isfinite(actions).all()
    assert not np.array_equal(actions[0], actions[1])  # the same frame, but another past


def test_every_ablation_can_be_measured_with_every_option(make_agent, batch):
    model = learnt(make_agent(world_model=OPTIONS), batch).world_model.eval()
    frames = model.images(batch.observations.repeat_interleave(2, 1))
    actions, flags = (x.repeat_interleave(2, 1) for x in (batch.actions, batch.is_first))
    rewards = batch.rewards.repeat_interleave(2, 1)
    data = SequenceData(frames, actions, flags, rewards)
    for ablation in ABLATIONS:
        with torch.no_grad():
            assert all(x.isfinite().all() for x in measure(model, data, ablation)), ablation.name


@pytest.mark.skipif(importlib.util.find_spec("torchjd") is None, reason="needs the extra torchjd")
@pytest.mark.parametrize("name", ["upgrad", "pcgrad", "nash_mtl"])
def test_agent_resumes_with_a_rival(make_agent, batch, name):
    first, second = (make_agent(world_model={"balancer": name}) for _ in range(2))
    learnt(first, batch)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    assert_equal(first.update(batch, 2), second.update(batch, 2))
    assert_equal(first.state_dict(), second.state_dict())
