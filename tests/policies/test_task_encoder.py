"""The task encoder: a set of trajectories, whose padding does not count."""

import pytest
import torch
from laws import assert_equal, every_parameter_gets_gradient

from aime_agent.errors import ConfigError
from aime_agent.policies.task_encoder import HierarchicalTaskEncoder

STEPS = torch.randn(2, 3, 5, 4)
VALID = torch.arange(5) < torch.tensor([[5, 2, 0], [1, 3, 4]])[..., None]


@pytest.fixture(params=[True, False], ids=["hierarchical", "flat"])
def encoder(request):
    return HierarchicalTaskEncoder(4, 8, request.param)


def test_order_of_trajectories_does_not_matter(encoder):
    turn = torch.tensor([2, 0, 1])
    one = encoder(STEPS, VALID).task_embedding
    assert_equal(one, encoder(STEPS[:, turn], VALID[:, turn]).task_embedding, atol=1e-6)


def test_order_of_steps_does(encoder):
    valid = torch.ones(2, 3, 5, dtype=torch.bool)
    one, two = (encoder(x, valid).task_embedding for x in (STEPS, STEPS.flip(2)))
    assert (one - two).abs().max() > 1e-3


def test_padding_does_not_count(encoder):
    longer = torch.cat([STEPS, torch.full((2, 3, 2, 4), 9.0)], dim=2)
    valid = torch.nn.functional.pad(VALID, (0, 2))
    garbled = torch.where(VALID[..., None], STEPS, torch.tensor(-7.0))
    one = encoder(STEPS, VALID).task_embedding
    assert_equal(one, encoder(longer, valid).task_embedding, atol=1e-6)
    assert_equal(one, encoder(garbled, VALID).task_embedding, atol=1e-6)


def test_both_directions_are_read():
    """The features of the first step depend on the last valid one, and the other way round."""
    encoder = HierarchicalTaskEncoder(4, 8)
    steps = STEPS.clone().requires_grad_()
    local = encoder(steps, VALID).local_features
    for seen, there in ((0, 3), (3, 0)):
        (grad,) = torch.autograd.grad(local[1, 2, seen].sum(), steps, retain_graph=True)
        assert grad[1, 2, there].abs().max() > 0
        assert grad[1, 2, 4].abs().max() == 0


def test_without_a_step_the_task_is_the_learned_unknown(encoder):
    found = encoder(STEPS, torch.zeros_like(VALID)).task_embedding
    assert_equal(found, encoder.unknown.expand(2, 8))


def test_second_derivatives_exist_and_agree():
    encoder = HierarchicalTaskEncoder(2, 4).double()
    steps = torch.randn(1, 2, 3, 2, dtype=torch.double, requires_grad=True)
    valid = torch.tensor([[[True, True, False], [True, False, False]]])
    assert torch.autograd.gradgradcheck(lambda x: encoder(x, valid).task_embedding, (steps,))


def test_every_part_learns(encoder):
    valid = VALID.clone()
    valid[0] = False
    every_parameter_gets_gradient(encoder, lambda m: m(STEPS, valid).task_embedding)


def test_odd_width_is_refused():
    with pytest.raises(ConfigError, match="even"):
        HierarchicalTaskEncoder(4, 7)
