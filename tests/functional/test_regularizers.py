"""Losses on maps and slots."""

import math

import pytest
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


def tokens(*rows):
    return torch.tensor([rows]).double()


def test_gram_loss_by_hand():
    student = tokens([2.0, 0.0], [0.0, 5.0])  # cosines 1 0 0 1
    teacher = tokens([1.0, 0.0], [3.0, 4.0])  # cosines 1 .6 .6 1
    assert_close(reg.gram_loss(student, teacher), torch.tensor(2 * 0.36 / 4).double())
    raw = reg.gram_loss(student, teacher, apply_norm=False)  # 4 0 0 25 against 1 3 3 25
    assert_close(raw, torch.tensor((9 + 9 + 9) / 4).double())


def test_gram_loss_treats_negatives_as_asked():
    student = tokens([1.0, 0.0], [-1.0, 0.0])  # cosine -1
    teacher = tokens([1.0, 0.0], [0.6, 0.8])  # cosine .6
    both = {"remove_neg": False}
    one = {"remove_neg": False, "remove_only_teacher_neg": True}
    for given, there, back in (({}, 0.36, 0.36), (both, 2.56, 2.56), (one, 2.56, 0.0)):
        found = reg.gram_loss(student, teacher, **given), reg.gram_loss(teacher, student, **given)
        assert_close(torch.stack(found), torch.tensor([there / 2, back / 2]).double())
    with pytest.raises(ValueError, match="exclude each other"):
        reg.gram_loss(student, teacher, remove_only_teacher_neg=True)


def test_gram_loss_between_images_sees_what_lies_between_them():
    student = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    teacher = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert reg.gram_loss(student, teacher) == 0
    assert_close(reg.gram_loss(student, teacher, img_level=False), torch.tensor(0.5))


def test_gram_loss_is_blind_to_a_common_rotation_and_stops_the_teacher():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 5, 4, dtype=torch.float64).requires_grad_().unbind(0)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert_close(reg.gram_loss(student @ turn, teacher), reg.gram_loss(student, teacher))
    gradients = torch.autograd.grad(
        reg.gram_loss(student, teacher), (student, teacher), allow_unused=True
    )
    assert gradients[0].any()
    assert gradients[1] is None
