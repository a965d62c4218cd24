"""Metrics of segmentations against sklearn, against numbers by hand, and on the known fixtures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from torch.testing import assert_close

from aime_agent.errors import DataError
from aime_agent.functional import segmentation as seg

nan = float("nan")


def close(found, wanted):
    assert_close(found, torch.as_tensor(wanted).to(found), equal_nan=True)


def labels(*shape, top=5, seed=0):
    return torch.randint(top, shape, generator=torch.Generator().manual_seed(seed))


def picture(*rows):
    """'0011' → labels; '.' is ignored."""
    return torch.tensor([[seg.IGNORE if c == "." else int(c) for c in row] for row in rows])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=60))
def test_ari_equals_sklearn(pairs):
    truth, predicted = torch.tensor(pairs).T
    wanted = adjusted_rand_score(truth.numpy(), predicted.numpy())
    assert seg.adjusted_rand_index(truth, predicted).item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("metric", [seg.adjusted_rand_index, seg.foreground_ari])
def test_ari_on_the_known_fixtures(metric):
    truth = labels(4096)
    close(metric(truth, truth), 1.0)
    close(metric(truth, torch.tensor([3, 0, 4, 1, 2])[truth]), 1.0)
    close(metric(truth, torch.zeros_like(truth)), 0.0)
    assert metric(truth, labels(4096, seed=1)).abs() < 0.01


def test_ari_is_one_where_both_partitions_are_trivial():
    one = torch.ones(9, dtype=torch.long)
    close(seg.adjusted_rand_index(one, one), 1.0)
    close(seg.foreground_ari(one, one), 1.0)
    close(seg.foreground_ari(torch.zeros(9, dtype=torch.long), labels(9)), 1.0)


def test_ari_by_hand():
    # N = [[2, 1], [0, 3]]: 1 + 3 equal pairs, A = 6, B = 1 + 6, E = 42/15.
    truth, predicted = picture("000111")[0], picture("001111")[0]
    close(seg.adjusted_rand_index(truth, predicted), (4 - 2.8) / (6.5 - 2.8))


def test_foreground_ari_equals_ari_of_the_foreground_pixels():
    truth, predicted = labels(300), labels(300, seed=1)
    inside = truth > 0
    close(
        seg.foreground_ari(truth, predicted),
        seg.adjusted_rand_index(truth[inside], predicted[inside]),
    )


def test_foreground_ari_does_not_see_bleeding_but_covering_does():
    truth, tight, bleeding = picture("001122")[0], picture("001122")[0], picture("111122")[0]
    for predicted in (tight, bleeding):
        close(seg.foreground_ari(truth, predicted), 1.0)
    close(seg.segmentation_covering(truth, tight), 1.0)
    close(seg.segmentation_covering(truth, bleeding), (2 * 2 / 4 + 2 * 1) / 4)


def test_ignored_pixels_count_nowhere():
    truth, predicted = picture("00112.")[0], picture("001121")[0]
    for metric in (seg.adjusted_rand_index, seg.foreground_ari, seg.mean_best_overlap):
        close(metric(truth, predicted), metric(truth[:5], predicted[:5]))


def test_a_batch_equals_its_rows():
    truth, predicted = labels(2, 3, 50) - 1, labels(2, 3, 50, seed=1)
    for metric in (
        seg.adjusted_rand_index,
        seg.foreground_ari,
        seg.mean_best_overlap,
        seg.segmentation_covering,
        seg.agent_iou,
    ):
        rows = [metric(truth[i, j], predicted[i, j]) for i in range(2) for j in range(3)]
        close(metric(truth, predicted).flatten(), torch.stack(rows))


def test_overlap_and_covering_by_hand():
    truth, predicted = picture("00001112")[0], picture("22210011")[0]
    iou, size = seg.overlaps(truth, predicted)
    close(size, [4.0, 3.0, 1.0])
    close(iou, [[0, 1 / 6, 3 / 4], [2 / 3, 1 / 5, 0], [0, 1 / 3, 0]])
    close(seg.mean_best_overlap(truth, predicted), (2 / 3 + 1 / 3) / 2)
    close(seg.segmentation_covering(truth, predicted), (3 * 2 / 3 + 1 / 3) / 4)
    close(seg.segmentation_covering(truth, predicted, background=True), (3 + 2 + 1 / 3) / 8)
    unweighted = seg.segmentation_covering(truth, predicted, weighted=False, background=True)
    close(unweighted, (3 / 4 + 2 / 3 + 1 / 3) / 3)


def test_a_label_is_matched_once():
    # Both segments overlap label 1 best; one of them must take label 0.
    truth, predicted = picture("111222")[0], picture("011112")[0]
    iou, _ = seg.overlaps(truth, predicted)
    close(iou[1:], [[1 / 3, 2 / 5, 0], [0, 2 / 5, 1 / 3]])
    assert seg.matched_iou(truth, predicted) == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert seg.matched_iou(truth, torch.zeros_like(truth)) == pytest.approx(0.25)
    assert seg.matched_iou(truth, truth, background=True) == 1.0
    assert math.isnan(seg.matched_iou(torch.zeros_like(truth), predicted))


def test_agent_is_the_union_of_the_labels_that_lie_mostly_on_it():
    truth, predicted = picture("0000112233")[0], picture("0000011122")[0]
    # Label 1 (3 px) lies on the agent, label 0 (5 px) does not, label 2 lies on it.
    close(seg.agent_iou(truth, predicted), 5 / 6)
    close(seg.agent_iou(picture("0001")[0], picture("0000")[0]), 0.0)
    close(seg.agent_iou(torch.zeros_like(truth), predicted), nan)
    close(seg.agent_iou(picture("0011.")[0], picture("00111")[0]), 1.0)


def test_segments_that_are_not_there_give_nan():
    nothing, predicted = torch.zeros(4, dtype=torch.long), labels(4)
    close(seg.mean_best_overlap(nothing, predicted), nan)
    close(seg.segmentation_covering(nothing, predicted), nan)
    close(seg.switch_rate(nothing.expand(2, 4), predicted.expand(2, 4)), nan)


def test_switch_rate_by_hand():
    truth = picture("0122", "0122", "0112")
    still, swapped = picture("0122", "0122", "0112"), picture("0122", "0211", "0112")
    close(seg.switch_rate(truth, still), 0.0)
    close(seg.switch_rate(truth, swapped), 1.0)
    # Segment 2 is gone in the last frame, so three segments can change; one does.
    half = seg.switch_rate(picture("0122", "0122", "0111"), picture("0122", "0322", "0333"))
    close(half, 1 / 3)


def test_video_ari_sees_a_swap_that_frames_do_not():
    truth, predicted = picture("1122", "1122"), picture("1122", "2211")
    close(seg.foreground_ari(truth, predicted), [1.0, 1.0])
    assert seg.foreground_ari(truth.flatten(), predicted.flatten()) < 0.1


def test_small_segments_are_ignored():
    close(seg.drop_small(picture("0011", "2333"), 2), picture("0011", ".333"))
    small = picture("0111")
    close(seg.drop_small(small), picture("0..."))
    close(seg.drop_small(torch.stack([small, picture("1111")]), 4)[1], picture("1111"))


def test_mass_on_a_mask_by_hand():
    mask = torch.zeros(4, 4).double()
    mask[:2, :3] = 1
    close(seg.pooled_mask(mask, 2, 2), [[1.0, 0.5], [0.0, 0.0]])
    maps = torch.tensor([[0.5, 0.2], [0.2, 0.1]]).double()
    close(seg.mass_on_mask(maps, mask), 0.6)
    close(seg.mass_on_mask(torch.full((2, 2), 0.25).double(), mask), mask.mean())


def test_negative_labels_are_refused():
    with pytest.raises(DataError, match="predicted: labels of at least 0 required, found -2"):
        seg.contingency(torch.tensor([0, 1]), torch.tensor([0, -2]))
