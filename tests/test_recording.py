"""Side attributes of the last call: served, detached, forgotten on copy and pickle."""

import copy
import pickle
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from aime_agent.recording import KeepsLast


class Output(NamedTuple):
    centers: Tensor
    diversity_loss: Tensor
    count: int


class Module(KeepsLast):
    _keeps_graph = ("diversity_loss",)

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        y = self.linear(x)
        self._last = Output(y, y.sum(), 3)
        return y


@pytest.fixture
def used():
    module = Module()
    module(torch.ones(1, 2))
    return module


def test_fields_of_the_last_output_are_attributes(used):
    assert used.count == 3
    assert torch.equal(used.centers, used.linear(torch.ones(1, 2)))


def test_second_call_replaces_the_first(used):
    used(torch.zeros(1, 2))
    assert torch.equal(used.centers, used.linear.bias[None])


def test_only_losses_keep_their_graph(used):
    assert not used.centers.requires_grad
    used.diversity_loss.backward()
    assert used.linear.weight.grad is not None


def test_reading_before_the_first_call_says_what_to_do():
    module = Module()
    assert not hasattr(module, "centers")
    with pytest.raises(AttributeError, match="Module has no attribute 'centers'; call the module"):
        _ = module.centers


def test_unknown_name_is_named_without_the_hint(used):
    with pytest.raises(AttributeError, match=r"Module has no attribute 'centres'$"):
        _ = used.centres


def test_served_fields_cannot_hide_parameters(used):
    assert isinstance(used.linear, nn.Linear)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_forget_the_last_output_and_the_original_keeps_it(used, clone):
    assert not hasattr(clone(used), "centers")
    assert used.count == 3


def test_last_output_is_not_in_the_state_dict(used):
    assert set(used.state_dict()) == {"linear.weight", "linear.bias"}
