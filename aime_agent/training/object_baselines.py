"""Segmentations that know nothing of objects: what slots have to beat, and what maps can reach.

    stripes        K vertical stripes of equal width
    random         a label drawn for every pixel
    k-means        Lloyd (1982) on the pixels' colours, or colours and positions
    earlier        the true labels of some steps ago: how much the scene moves
    at resolution  the true labels through a map of R × R cells: the most that such a map can show

All take or give labels ``[E, T, H, W]``: E episodes of T frames.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

_ITERATIONS = 10


def stripes(shape: tuple[int, int, int, int], count: int) -> Int[Tensor, "E T H W"]:
    """Returns vertical stripes.

    >>> stripes((1, 1, 1, 6), 3).flatten().tolist()
    [0, 0, 1, 1, 2, 2]
    """
    columns = torch.arange(shape[-1]) * count // shape[-1]
    return columns.expand(shape)


def random_labels(
    shape: tuple[int, int, int, int], count: int, rng: np.random.Generator
) -> Int[Tensor, "E T H W"]:
    """Returns uniform labels."""
    return torch.from_numpy(rng.integers(count, size=shape))


def earlier(truth: Int[Tensor, "E T H W"], lag: int) -> Int[Tensor, "E T-{lag} H W"]:
    """Returns the labels of ``lag`` frames before; they belong to ``truth[:, lag:]``."""
    return truth[:, :-lag].clamp_min(0)


def at_resolution(truth: Int[Tensor, "E T H W"], side: int) -> Int[Tensor, "E T H W"]:
    """Returns the labels that a map of ``side``² cells can show.

    One map per label, pooled over cells, brought back bilinearly; the largest wins.
    """
    size = truth.shape[-2:]
    found = [
        _through(frame, side, (size[0], size[1])) for frame in truth.flatten(0, 1).clamp_min(0)
    ]
    return torch.stack(found).view_as(truth)


def pixel_features(
    frames: UInt8[np.ndarray, "E T H W C"], positions: bool
) -> Float[Tensor, "E T P D"]:
    """Returns colours in [0, 1], with row and column in [0, 1] if asked for."""
    height, width = frames.shape[2:4]
    colours = torch.from_numpy(frames.astype(np.float32) / 255.0)
    if positions:
        rows, columns = torch.meshgrid(
            torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"
        )
        grid = torch.stack([rows, columns], -1).expand(*frames.shape[:2], -1, -1, -1)
        colours = torch.cat([colours, grid], -1)
    return colours.flatten(2, 3)


def k_means(
    features: Float[Tensor, "E T P D"], count: int, rng: np.random.Generator
) -> Int[Tensor, "E T P"]:
    """Clusters the pixels of each frame.

    The first frame starts from k-means++ (Arthur & Vassilvitskii, 2007), each later one from the
    centres of the frame before, so that labels mean the same over time. A cluster without pixels
    keeps its centre.
    """
    centres = torch.stack([_spread(frame, count, rng) for frame in features[:, 0]])
    labels = []
    for points in features.unbind(1):
        centres = _lloyd(points, centres)
        labels.append(torch.cdist(points, centres).argmin(-1))
    return torch.stack(labels, 1)


def _lloyd(
    points: Float[Tensor, "E P D"], centres: Float[Tensor, "E K D"]
) -> Float[Tensor, "E K D"]:
    for _ in range(_ITERATIONS):
        nearest = torch.cdist(points, centres).argmin(-1)
        member = F.one_hot(nearest, centres.shape[1]).to(points)
        size = member.sum(1)[..., None]
        means = member.mT @ points / size.clamp_min(1.0)
        centres = torch.where(size > 0, means, centres)
    return centres


def _spread(
    points: Float[Tensor, "P D"], count: int, rng: np.random.Generator
) -> Float[Tensor, "{count} D"]:
    """Draws start centres, each in proportion to the squared distance from those before."""
    chosen = [int(rng.integers(len(points)))]
    while len(chosen) < count:
        nearest = torch.cdist(points, points[chosen]).amin(-1).double().square().numpy()
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        chosen.append(int(rng.choice(len(points), p=share)))
    return points[chosen]


def _through(labels: Int[Tensor, "H W"], side: int, size: tuple[int, int]) -> Int[Tensor, "H W"]:
    present = labels.unique()
    maps = (labels == present[:, None, None]).float()[None]
    pooled = F.adaptive_avg_pool2d(maps, (side, side))
    back = F.interpolate(pooled, size, mode="bilinear", align_corners=False)
    return present[back[0].argmax(0)]
