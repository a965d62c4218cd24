"""Losses on maps and slots."""

import math

import torch
from torch.testing import assert_close

from aime_agent.functional import regularizers as reg
from aime_agent.functional.spatial import normalize_mass


def one_cell(row, column, side=21):
    m = torch.zeros(side, side)
    m[row, column] = 1.0
    return m


def test_diversity_is_zero_for_disjoint_and_one_for_equal_slots():
    disjoint = torch.stack([one_cell(0, 0), one_cell(3, 4), one_cell(9, 9)])
    equal = one_cell(2, 2).expand(3, -1, -1)
    found = reg.slot_diversity(torch.stack([disjoint, equal]))
    assert_close(found, torch.tensor([0.0, 1.0]))


def test_diversity_of_one_slot_is_zero():
    assert reg.slot_diversity(torch.rand(1, 4, 4)) == 0


def test_diversity_by_hand():
    maps = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])
    assert_close(reg.slot_diversity(maps), torch.tensor(0.5))


def test_movement_is_counted_in_cells():
    maps = torch.stack([one_cell(5, 5), one_cell(5, 8), one_cell(4, 8)])[None].double()
    moved = reg.map_movement(maps)
    assert_close(moved, torch.tensor([[[3.0, 0.0], [0.0, -1.0]]]).double(), atol=1e-4, rtol=0)


def test_huber_by_hand_and_target_is_stopped():
    actual = torch.tensor([0.5, 3.0], requires_grad=True)
    predicted = torch.zeros(2, requires_grad=True)
    loss = reg.movement_huber(predicted, actual)
    assert_close(loss.detach(), torch.tensor(0.125 + 2.5))
    loss.backward()
    assert actual.grad is None
    assert predicted.grad.tolist() == [-0.5, -1.0]


def test_kl_of_equal_maps_without_mix_is_zero():
    p = normalize_mass(torch.rand(3, 4, 4, dtype=torch.float64))
    found = reg.categorical_kl(p, p.log(), uniform_mix=0)
    assert_close(found, torch.zeros(3).double(), atol=1e-9, rtol=0)


def test_kl_of_disjoint_cells_is_bounded_by_the_mix():
    a, b = one_cell(0, 0), one_cell(20, 20)
    found = reg.categorical_kl(a, (b + 1e-30).log())
    assert_close(found, torch.tensor(math.log(441 / 0.01)), atol=1e-3, rtol=0)


def test_kl_gradient_is_finite_at_empty_cells():
    a = one_cell(0, 0).requires_grad_()
    reg.categorical_kl(a, torch.full((21, 21), -math.log(441))).backward()
    assert a.grad.isfinite().all()


def test_balance_weighs_the_gradients():
    p = normalize_mass(torch.rand(4, 4)).requires_grad_()
    log_q = normalize_mass(torch.rand(4, 4)).log().requires_grad_()
    full = torch.autograd.grad(reg.categorical_kl(p, log_q), [p, log_q])
    part = torch.autograd.grad(reg.balanced_attention_kl(p, log_q), [p, log_q])
    assert_close(part[0], 0.2 * full[0])
    assert_close(part[1], 0.8 * full[1])


def test_free_nats_stop_the_gradient_below_them():
    p = normalize_mass(torch.rand(4, 4))
    log_q = p.log().requires_grad_()
    loss = reg.balanced_attention_kl(p, log_q, free_nats=0.1)
    assert_close(loss.detach(), torch.tensor(0.1))
    assert torch.autograd.grad(loss, log_q)[0].abs().max() == 0


def test_transition_error_stops_the_corrected_slots():
    s_hat, s = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    reg.slot_transition_error(s_hat, s).sum().backward()
    assert s.grad is None
    assert s_hat.grad is not None
