"""bfloat16 where it is asked for, float32 where it counts."""

from typing import NamedTuple

import pytest
import torch

from aime_agent import precision
from aime_agent.world_model.losses import SequenceData

CPU = torch.device("cpu")


class Pair(NamedTuple):
    half: torch.Tensor
    rest: tuple


def test_products_are_halved_only_on_request():
    x = torch.ones(2, 2)
    with precision.products_in("bfloat16", CPU):
        assert (x @ x).dtype == torch.bfloat16
        assert precision.exactly(torch.matmul)(x, x).dtype == torch.float32
    with precision.products_in("float32", CPU):
        assert (x @ x).dtype == torch.float32


def test_trees_are_widened_and_keep_their_gradient():
    x = torch.ones(2, requires_grad=True)
    tree = precision.widened(Pair(x.bfloat16(), (torch.arange(2), None)))
    assert tree.half.dtype == torch.float32
    assert tree.rest[0].dtype == torch.int64
    tree.half.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.fixture
def data(batch):
    floats = batch.observations.float() / 255
    return SequenceData(floats, batch.actions, batch.is_first, batch.rewards, batch.terminated)


def test_losses_in_bfloat16_are_close_and_teach_in_float32(agent, data):
    model, found = agent.world_model.train(), {}
    for name in ("float32", "bfloat16"):
        torch.manual_seed(0)
        found[name] = model.fit(data, number_format=name)
    exact, halved = (found[name].losses.total for name in ("float32", "bfloat16"))
    assert halved.dtype == torch.float32
    assert halved != exact
    assert halved.item() == pytest.approx(exact.item(), rel=0.02)
    assert found["bfloat16"].beliefs.mean.dtype == torch.float32
    halved.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)
    assert len(gradients) > 50


def test_agent_learns_with_it(make_agent, batch):
    agent = make_agent(precision="bfloat16")
    agent.begin(batch.observations.flatten(0, 1))
    metrics = agent.update(batch, 0)
    assert all(bool(torch.isfinite(x).all()) for x in metrics.values())
