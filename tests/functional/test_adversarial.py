"""Adversarial losses against numbers worked out by hand, and whom their gradients reach."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.errors import ShapeError
from aime_agent.functional.adversarial import (
    adaptive_weight,
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    with_gradient,
)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_discriminator_loss_by_hand():
    # Real: 1 - 0.5, 0, 1 + 2; fake: 0, 1 + 0.25, 1 + 4.
    found = hinge_discriminator_loss(t(0.5, 1.0, -2.0), t(-1.0, 0.25, 4.0))
    assert_close(found, torch.tensor((3.5 + 6.25) / 3).double())


def test_sure_and_right_logits_have_no_slope():
    real, fake = t(1.5, 0.5).requires_grad_(), t(-1.5, -0.5).requires_grad_()
    hinge_discriminator_loss(real, fake).backward()
    assert_close(real.grad, t(0.0, -0.5))
    assert_close(fake.grad, t(0.0, 0.5))


def test_generator_loss_keeps_its_slope_where_the_discriminator_is_sure():
    fake = t(-50.0, 2.0).requires_grad_()
    loss = hinge_generator_loss(fake)
    loss.backward()
    assert_close(loss.detach(), torch.tensor(24.0).double())
    assert_close(fake.grad, t(-0.5, -0.5))


def test_masked_logits_do_not_count():
    keep = torch.tensor([True, False])
    assert hinge_generator_loss(t(3.0, 100.0), keep) == -3
    assert hinge_discriminator_loss(t(0.0, 9.0), t(0.0, 9.0), keep) == 2
    assert hinge_generator_loss(t(3.0, 1.0), ~keep & keep) == 0


def test_features_are_averaged_within_layers_then_over_them():
    real = [t(0.0, 0.0, 0.0, 0.0).requires_grad_(), t(1.0).requires_grad_()]
    fake = [t(1.0, 1.0, 0.0, -2.0).requires_grad_(), t(4.0).requires_grad_()]
    loss = feature_matching_loss(real, fake)
    assert_close(loss.detach(), torch.tensor(2.0).double())  # (4 / 4 + 3) / 2
    loss.backward()
    assert [r.grad for r in real] == [None, None]
    assert_close(fake[0].grad, t(1.0, 1.0, 0.0, -1.0) / 8)


@pytest.mark.parametrize(
    ("real", "fake"), [([], []), ([t(1.0)], []), ([t(1.0)], [t(1.0, 2.0)])], ids=str
)
def test_layers_that_do_not_pair_are_named(real, fake):
    with pytest.raises(ShapeError, match="real and fake: one layer or more of equal shapes"):
        feature_matching_loss(real, fake)


def test_adaptive_weight_gives_both_gradients_one_norm():
    target, gradient = t(3.0, 4.0).requires_grad_(), t(-0.2, 0.0).requires_grad_()
    weight = adaptive_weight(target, gradient)
    assert_close(weight, torch.tensor(25.0).double())
    assert not weight.requires_grad
    assert_close((weight * gradient).norm(), target.norm())


def test_adaptive_weight_is_bounded_where_a_gradient_vanishes():
    assert adaptive_weight(t(1.0), t(1e-9), limit=7.0) == 7
    assert adaptive_weight(t(1.0), t(0.0), limit=7.0) == 7
    assert adaptive_weight(t(0.0), t(0.0)) == 0


def test_known_gradient_replaces_the_backward_pass():
    x = t(0.3, -0.7).requires_grad_()
    true = torch.exp(x).sum()
    (gradient,) = torch.autograd.grad(true, x)
    loss = with_gradient(torch.exp(x).sum(), x, gradient)
    assert_close(loss.detach(), true.detach())
    assert_close(torch.autograd.grad(2 * loss, x)[0], 2 * gradient)
