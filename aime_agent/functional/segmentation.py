"""How well labels agree with a true segmentation.

Labels are whole numbers, one per pixel. In the truth 0 is the background and a negative label
(`IGNORE`) leaves its pixel out. With N_ck the number of pixels of true segment c and label k:

    ARI      (Σ C(N_ck, 2) - E) / ((A + B)/2 - E),   E = AB / C(n, 2)      (Hubert & Arabie, 1985)
             A = Σ_c C(N_c, 2),  B = Σ_k C(N_k, 2);  1 where the denominator is 0
    FG-ARI   ARI over the pixels of the foreground (Greff et al., 2019)
    IoU_ck   N_ck / (N_c + N_k - N_ck)
    mBO      mean over true segments of max_k IoU_ck
    SC       Σ_c N_c max_k IoU_ck / Σ_c N_c       covering (Engelcke et al., 2020)

FG-ARI does not see a segment that bleeds into the background, and says nothing where the truth
has one segment only (0 for two labels, 1 for one); IoU and covering do. One picture is ``[H·W]``
pixels, a film ``[T·H·W]``: flattened over time, a swap of two labels costs.

Letters: P pixels, C true segments with the background, K labels.

>>> truth, other = torch.tensor([0, 0, 1, 1]), torch.tensor([3, 3, 0, 1])
>>> round(adjusted_rand_index(truth, other).item(), 4)
0.5714
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor

from aime_agent.errors import DataError

IGNORE = -1
"""A true label that leaves its pixel out."""
LEAST_PIXELS = 8
"""Segments with fewer pixels are too small to be found at 64 × 64."""


def contingency(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> Float64[Tensor, "*batch C K"]:
    """Counts the pixels of every true segment and label; ignored pixels count nowhere.

    Raises:
        DataError: a predicted label is negative.
    """
    if predicted.numel() and int(predicted.min()) < 0:
        raise DataError(f"predicted: labels of at least 0 required, found {int(predicted.min())}")
    lead = truth.shape[:-1]
    rows = max(int(truth.max()), 0) + 1 if truth.numel() else 1
    columns = int(predicted.max()) + 1 if predicted.numel() else 1
    flat, other = truth.reshape(-1, truth.shape[-1]).long(), predicted.reshape(-1, truth.shape[-1])
    start = torch.arange(len(flat), device=truth.device)[:, None] * rows
    cell = (start + flat) * columns + other
    counts = torch.bincount(cell[flat >= 0], minlength=len(flat) * rows * columns)
    return counts.double().reshape(*lead, rows, columns)


def adjusted_rand_index(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> Float64[Tensor, "*batch"]:
    """Returns the agreement of two partitions: 1 equal, 0 as good as chance."""
    return _rand_index(contingency(truth, predicted))


def foreground_ari(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> Float64[Tensor, "*batch"]:
    """Returns the adjusted Rand index over the pixels whose true label is not 0."""
    return _rand_index(contingency(truth, predicted)[..., 1:, :])


def overlaps(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> tuple[Float64[Tensor, "*batch C K"], Float64[Tensor, "*batch C"]]:
    """Returns IoU of every true segment with every label, and the size of each segment."""
    table = contingency(truth, predicted)
    size = table.sum(-1)
    union = size[..., None] + table.sum(-2, keepdim=True) - table
    return table / union.clamp_min(1.0), size


def mean_best_overlap(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> Float64[Tensor, "*batch"]:
    """Returns mBO over the foreground's segments; NaN where there is none."""
    return segmentation_covering(truth, predicted, weighted=False)


def segmentation_covering(
    truth: Int[Tensor, "*batch P"],
    predicted: Int[Tensor, "*batch P"],
    weighted: bool = True,
    background: bool = False,
) -> Float64[Tensor, "*batch"]:
    """Returns how well labels cover the true segments; NaN where there is none.

    Args:
        truth: True labels.
        predicted: Any labels.
        weighted: Weigh segments by their size (SC), or all alike (mSC; without the background
            this is mBO).
        background: Whether the background is a segment to be covered.
    """
    iou, size = overlaps(truth, predicted)
    first = 0 if background else 1
    best, size = iou.amax(-1)[..., first:], size[..., first:]
    weight = size if weighted else (size > 0).double()
    return (weight * best).sum(-1) / weight.sum(-1)


def matched_iou(
    truth: Int[Tensor, "P"], predicted: Int[Tensor, "P"], background: bool = False
) -> float:
    """Returns the mean IoU under the best one-to-one matching of segments and labels.

    A segment without a label counts 0. NaN where there is no segment.

    Args:
        truth: True labels of one picture or film.
        predicted: Any labels.
        background: Whether the background is a segment to be matched.
    """
    from scipy.optimize import linear_sum_assignment

    iou, size = overlaps(truth, predicted)
    first = 0 if background else 1
    present = size[first:] > 0
    table = iou[first:][present]
    if not len(table):
        return float("nan")
    rows, columns = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    return float(table[rows, columns].sum() / len(table))


def agent_iou(
    truth: Int[Tensor, "*batch P"], predicted: Int[Tensor, "*batch P"]
) -> Float64[Tensor, "*batch"]:
    """Returns IoU of the agent with the union of the labels that lie mostly on it.

    Any foreground is the agent. NaN where there is none.
    """
    table = contingency((truth > 0).long() - (truth < 0).long(), predicted)
    if table.shape[-2] < 2:
        return table.new_full(table.shape[:-2], float("nan"))
    outside, inside = table.unbind(-2)
    chosen = (inside > outside).double()
    hit, false = (chosen * inside).sum(-1), (chosen * outside).sum(-1)
    return hit / (inside.sum(-1) + false)


def switch_rate(
    truth: Int[Tensor, "*batch T P"], predicted: Int[Tensor, "*batch T P"]
) -> Float64[Tensor, "*batch"]:
    """Returns the share of foreground segments whose best label changes to the next frame.

    Only segments seen in both frames count; NaN where there is none.
    """
    iou, size = overlaps(truth, predicted)
    best, seen = iou.argmax(-1)[..., 1:], size[..., 1:] > 0
    both = seen[..., 1:, :] & seen[..., :-1, :]
    changed = both & (best[..., 1:, :] != best[..., :-1, :])
    return changed.double().sum((-2, -1)) / both.double().sum((-2, -1))


def drop_small(
    labels: Int[Tensor, "*batch H W"], least: int = LEAST_PIXELS
) -> Int[Tensor, "*batch H W"]:
    """Returns the labels with the pixels of segments smaller than ``least`` set to `IGNORE`."""
    flat = labels.flatten(-2)
    size = contingency(flat, torch.zeros_like(flat)).squeeze(-1)
    too_small = (size < least) & (size > 0)
    too_small[..., 0] = False
    lost = too_small.gather(-1, flat.clamp_min(0).long()) & (flat > 0)
    return torch.where(lost, IGNORE, flat).view_as(labels)


def pooled_mask(
    mask: Float[Tensor, "*batch H W"], height: int, width: int
) -> Float[Tensor, "*batch {height} {width}"]:
    """Returns the share of every cell that lies in the mask."""
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    pooled = F.adaptive_avg_pool2d(flat, (height, width))
    return pooled.reshape(*mask.shape[:-2], height, width)


def mass_on_mask(
    maps: Float[Tensor, "*batch R R"], mask: Float[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch"]:
    """Returns how much of each map (of sum 1) lies on a mask, Σ_n A(n) · share of cell n.

    A uniform map has the mask's share of the picture; a map that is the pooled mask itself has
    Σ m² / Σ m, which thin masks and large cells keep below 1.
    """
    return (maps * pooled_mask(mask, *maps.shape[-2:])).sum((-2, -1))


def _rand_index(table: Float64[Tensor, "*batch C K"]) -> Float64[Tensor, "*batch"]:
    def pairs(x: Tensor) -> Tensor:
        return x * (x - 1) / 2

    rows, columns = pairs(table.sum(-1)).sum(-1), pairs(table.sum(-2)).sum(-1)
    expected = rows * columns / pairs(table.sum((-2, -1))).clamp_min(1.0)
    above, scale = pairs(table).sum((-2, -1)) - expected, (rows + columns) / 2 - expected
    return torch.where(scale == 0, 1.0, above / torch.where(scale == 0, 1.0, scale))
