"""The maths of RGB against hand-computed rows and against its vector form."""

import math

import pytest
import torch

from aime_agent.functional.gradients import (
    UnitGram,
    dual_cone_multipliers,
    rotation_gradient,
    rotation_objective,
    slerp,
    solve_angles,
    unit_consensus,
)


def gram_of(units, d):
    yes = torch.ones(len(units), dtype=torch.bool)
    return UnitGram(units @ units.T, units @ d, yes, yes)


@pytest.fixture
def case():
    torch.manual_seed(0)
    units = torch.nn.functional.normalize(torch.randn(4, 7, dtype=torch.float64), dim=-1)
    d = torch.nn.functional.normalize(units.mean(0) + 0.1, dim=-1)
    alpha = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    return units, d, alpha


def rotate(units, d, alpha):
    """The vector form: cos α ĝ + sin α w, w the part of d orthogonal to ĝ."""
    w = torch.nn.functional.normalize(d - (units @ d)[:, None] * units, dim=-1)
    return alpha.cos()[:, None] * units + alpha.sin()[:, None] * w


def test_slerp_equals_vector_form(case):
    units, d, alpha = case
    own, pull = slerp(alpha, gram_of(units, d))
    found = own[:, None] * units + pull[:, None] * d
    torch.testing.assert_close(found, rotate(units, d, alpha), atol=1e-14, rtol=0)


def test_objective_equals_vector_form(case):
    units, d, alpha = case
    r = rotate(units, d, alpha)
    pairs = torch.triu(1 - r @ r.T, 1).sum() / 12
    expected = pairs + 0.7 / 16 * (r - units).square().sum()
    torch.testing.assert_close(rotation_objective(alpha, gram_of(units, d), 0.7), expected)


def test_gradient_is_the_derivative_of_the_objective(case):
    units, d, alpha = case
    alpha.requires_grad_()
    rotation_objective(alpha, gram_of(units, d), 1.3).backward()
    found = rotation_gradient(alpha.detach(), gram_of(units, d), 1.3)
    torch.testing.assert_close(found, alpha.grad)


def test_angles_of_orthogonal_gradients_have_closed_form():
    eye = torch.eye(2, dtype=torch.float64)
    gram = gram_of(eye, torch.full((2,), 0.5**0.5, dtype=torch.float64))
    alpha = solve_angles(torch.zeros(2).double(), gram, lambd=1.0, steps=400, lr=0.2)
    exact = math.asin((math.sqrt(8.25) - 0.5) / 4)
    torch.testing.assert_close(alpha, torch.full((2,), exact, dtype=torch.float64))


def test_angles_never_pass_the_consensus(case):
    units, d, alpha = case
    found = solve_angles(alpha, gram_of(units, d), lambd=0.0, steps=500, lr=0.5)
    assert (found <= (units @ d).arccos() + 1e-12).all()
    assert (found <= math.pi / 2).all()


def test_consensus_is_a_unit_vector_between_old_and_new(case):
    units, d, _ = case
    e, f = unit_consensus(
        units @ units.T, units @ d, torch.ones(4).double(), torch.tensor(0.9).double()
    )
    new = e @ units + f * d
    y = torch.nn.functional.normalize(units.sum(0), dim=-1)
    expected = torch.nn.functional.normalize(0.9 * d + 0.1 * y, dim=-1)
    torch.testing.assert_close(new, expected)


def test_consensus_of_cancelling_votes_is_the_old_one():
    units = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    ones, none = torch.ones(2).double(), torch.zeros(2).double()
    e, f = unit_consensus(units @ units.T, none, ones, torch.tensor(0.9).double())
    assert e.abs().max() == 0
    assert abs(f - 1) < 1e-12


def test_dual_cone_projection_opposes_nobody_and_is_nearest(case):
    torch.manual_seed(3)
    for _ in range(50):
        units = torch.nn.functional.normalize(torch.randn(6, 8).double(), dim=-1)
        v = torch.randn(8).double()
        lam = dual_cone_multipliers(units @ units.T, units @ v)
        after = units @ (v + lam @ units)
        assert lam.min() >= 0
        assert after.min() > -1e-9
        assert (lam * after).abs().max() < 1e-9


def test_dual_cone_projection_survives_equal_and_opposite_gradients():
    units = torch.tensor([[1.0, 0], [1.0, 0], [-1.0, 0]], dtype=torch.float64)
    v = torch.tensor([0.5, 1.0], dtype=torch.float64)
    lam = dual_cone_multipliers(units @ units.T, units @ v)
    torch.testing.assert_close(v + lam @ units, torch.tensor([0.0, 1.0], dtype=torch.float64))
