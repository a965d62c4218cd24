"""Do slots become objects? Slot masks and attention maps against the true segmentation.

Three levels of truth (`aime_agent.envs.segmentation`): agent, limbs, bodies. Segments of fewer than 8 px
are left out. What is predicted is the argmax of the slot decoder's masks at image resolution, and,
for comparison, of the slots' shares on the attention grid. Beside both stand segmentations that
know nothing of objects (`aime_agent.training.object_baselines`).

Frames with fewer than two foreground segments have no FG-ARI (it would be 1 for nothing). Every
figure is a mean over episodes of the episode's own mean, with a Student-t interval over episodes.
Attention: the map's mass on the agent over that of a uniform map.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from aime_agent.data.files import write_json
from aime_agent.envs.segmentation import LEVELS, Level
from aime_agent.errors import ConfigError
from aime_agent.functional import segmentation as metrics
from aime_agent.training import object_baselines as baselines
from aime_agent.training.evaluate import interval, versions
from aime_agent.training.seeding import numpy_rng
from aime_agent.training.segmented import SegmentedEpisodes
from aime_agent.world_model.model import AimeWorldModel

Labels = Int[Tensor, "E T H W"]
LAG = 4
"""Steps ago that the baseline ``earlier`` knows."""
CLUSTERS = 5
"""Stripes, clusters and random labels."""
_DIGITS = 5


class Figure(NamedTuple):
    """A mean over episodes and its 95 % interval (None where there are fewer than two)."""

    mean: float
    ci95: tuple[float, float] | None


class Seen(NamedTuple):
    """What a world model says about some episodes."""

    masks: Labels
    """Slot of each pixel, by the slot decoder."""
    shares: Labels
    """Slot of each pixel, by the attention grid."""
    attention: Float[Tensor, "E T R R"]
    evidence: Float[Tensor, "E T R R"]
    """The slots' own map, before it is fused with the predicted one."""


Scores = dict[str, Figure]
Table = dict[str, dict[str, Scores]]
"""Level, then who predicts, then metric."""


def truth_at(data: SegmentedEpisodes, level: Level) -> Labels:
    """Returns the true labels of a level, small segments ignored."""
    labels = torch.from_numpy(data.parts.labels(data.bodies, level).astype(np.int64))
    return metrics.drop_small(labels)


def score(truth: Labels, predicted: Labels) -> Scores:
    """Returns every metric of one prediction.

    ``ari`` counts all pixels; ``fg_ari`` and ``video_fg_ari`` the foreground, by frame and by
    episode; ``mbo``, ``sc``, ``miou`` the overlap with foreground segments (best label, the same
    weighted by size, one label for each); ``agent_iou`` joins the labels that lie mostly on the
    agent; ``switch_rate`` is the share of segments whose label changes to the next frame.
    """
    t, p = truth.flatten(2), predicted.flatten(2)
    parts = (metrics.contingency(t, torch.zeros_like(t))[..., 0] > 0)[..., 1:].sum(-1)
    matched = [
        [metrics.matched_iou(a, b) for a, b in zip(*two, strict=True)] for two in _rows(t, p)
    ]
    per_frame = {
        "ari": metrics.adjusted_rand_index(t, p),
        "fg_ari": _where(parts > 1, metrics.foreground_ari(t, p)),
        "mbo": metrics.mean_best_overlap(t, p),
        "sc": metrics.segmentation_covering(t, p),
        "miou": torch.tensor(matched, dtype=torch.float64),
        "agent_iou": metrics.agent_iou(t, p),
    }
    several = (parts > 1).any(-1)
    per_episode = {name: values.nanmean(-1) for name, values in per_frame.items()}
    video = metrics.foreground_ari(t.flatten(1), p.flatten(1))
    per_episode["video_fg_ari"] = _where(several, video)
    per_episode["switch_rate"] = metrics.switch_rate(t, p)
    return {name: figure(values) for name, values in per_episode.items()}


def figure(values: Float64[Tensor, " E"]) -> Figure:
    """Returns the mean over episodes that have a value, and its interval."""
    there = tuple(values[~values.isnan()].tolist())
    return Figure(float(np.mean(there)) if there else float("nan"), interval(there))


def score_baselines(data: SegmentedEpisodes, sides: Sequence[int], seed: int) -> Table:
    """Scores all that knows nothing of objects, at every level.

    Args:
        data: Episodes with truth.
        sides: Each R of an attention map whose best result is asked for.
        seed: Of k-means and of the random labels.
    """
    shape = data.bodies.shape
    blind = {f"{CLUSTERS} stripes": baselines.stripes(shape, CLUSTERS)}
    rng = numpy_rng(seed, "objects-random")
    blind["random"] = baselines.random_labels(shape, CLUSTERS, rng)
    for name, positions, count in (
        ("k-means RGB", False, CLUSTERS),
        ("k-means RGBxy", True, CLUSTERS),
        ("k-means RGB", False, 2),
    ):
        points = baselines.pixel_features(data.frames, positions)
        rng = numpy_rng(seed, "objects-k-means", positions, count)
        blind[f"{name} {count}"] = baselines.k_means(points, count, rng).reshape(shape)
    table: Table = {}
    for level in LEVELS:
        truth = truth_at(data, level)
        table[level] = {name: score(truth, labels) for name, labels in blind.items()}
        if shape[1] > LAG:
            table[level][f"truth {LAG} steps ago"] = score(
                truth[:, LAG:], baselines.earlier(truth, LAG)
            )
        for side in sides:
            best = baselines.at_resolution(truth, side)
            table[level][f"truth at {side} x {side}"] = score(truth, best)
    return table


@torch.no_grad()
def look(model: AimeWorldModel, data: SegmentedEpisodes) -> Seen:
    """Puts a world model into eval mode and runs it over the episodes, one by one.

    Raises:
        ConfigError: the model has no slots or no maps.
    """
    c = model.config
    if not (c.use_slots and c.use_attention):
        raise ConfigError(
            "model: use_slots and use_attention are required to look for objects, found "
            f"{c.use_slots} and {c.use_attention}"
        )
    model.eval()
    return Seen(*(torch.stack(parts) for parts in zip(*_looks(model, data), strict=True)))


def score_model(data: SegmentedEpisodes, seen: Seen) -> Table:
    """Scores slot masks and shares on the grid at every level."""
    table: Table = {}
    for level in LEVELS:
        truth = truth_at(data, level)
        table[level] = {
            "slot masks": score(truth, seen.masks),
            "slots on the grid": score(truth, seen.shares),
        }
    return table


def score_attention(data: SegmentedEpisodes, seen: Seen) -> dict[str, Figure]:
    """Returns masses on the agent: of maps, and as multiples of a uniform map's mass.

    ``ceiling`` is the multiple of a map that is the agent's own mask, pooled over cells.
    """
    mask = truth_at(data, "agent").clamp_min(0).float()
    pooled = metrics.pooled_mask(mask, *seen.attention.shape[-2:])
    own = pooled / pooled.sum((-2, -1), keepdim=True).clamp_min(1e-8)
    uniform = pooled.mean((-2, -1)).mean(1)
    found = {"uniform_mass": figure(uniform.double())}
    for name, maps in (("map", seen.attention), ("evidence", seen.evidence), ("ceiling", own)):
        mass = metrics.mass_on_mask(maps, mask).mean(1)
        found[f"{name}_mass"] = figure(mass.double())
        found[f"{name}_ratio"] = figure((mass / uniform.clamp_min(1e-8)).double())
    return found


def report(
    data: SegmentedEpisodes,
    tables: Mapping[str, Mapping[str, Scores]],
    attention: Mapping[str, Figure],
    **facts: Any,
) -> dict[str, Any]:
    """Returns everything as JSON values, with what it takes to repeat it."""

    def plain(value: Figure) -> dict[str, Any]:
        mean = None if np.isnan(value.mean) else round(value.mean, _DIGITS)
        ends = None if value.ci95 is None else [round(end, _DIGITS) for end in value.ci95]
        return {"mean": mean, "ci95": ends}

    levels = {
        level: {who: {m: plain(f) for m, f in scores.items()} for who, scores in table.items()}
        for level, table in tables.items()
    }
    episodes, steps = data.bodies.shape[:2]
    return {
        **facts,
        "episodes": episodes,
        "steps": steps,
        "image_size": data.bodies.shape[-1],
        "episode_seeds": list(data.seeds),
        "foreground": float((data.bodies > 0).mean()),
        "levels": levels,
        "attention": {name: plain(value) for name, value in attention.items()},
        "versions": versions(),
    }


def save_report(path: Path, found: Mapping[str, Any]) -> None:
    """Writes the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, json.loads(json.dumps(found)))


def merge(*tables: Table) -> Table:
    """Joins tables of the same levels, the first ones' rows first."""
    return {
        level: {who: s for table in tables for who, s in table.get(level, {}).items()}
        for level in LEVELS
    }


COLUMNS: tuple[tuple[str, Level, str], ...] = (
    ("ARI", "agent", "ari"),
    ("IoU", "agent", "agent_iou"),
    ("FG-ARI", "limbs", "fg_ari"),
    ("video", "limbs", "video_fg_ari"),
    ("mBO", "limbs", "mbo"),
    ("FG-ARI", "bodies", "fg_ari"),
    ("video", "bodies", "video_fg_ari"),
    ("mBO", "bodies", "mbo"),
    ("SC", "bodies", "sc"),
    ("switch", "bodies", "switch_rate"),
)
"""What `lines` shows: heading, level, metric."""


def lines(table: Table) -> Iterator[str]:
    """Yields the means as columns: agent, limbs, bodies."""
    names = list(dict.fromkeys(who for scores in table.values() for who in scores))
    width = max(len(name) for name in names)
    shown = {"agent": 2, "limbs": 3, "bodies": 5}
    groups = "".join(f"{level:<{8 * count}}" for level, count in shown.items())
    yield f"{'':<{width + 2}}{groups}".rstrip()
    yield f"{'':<{width}}" + "".join(f"{head:>8}" for head, _, _ in COLUMNS)
    for name in names:
        cells = (table[level].get(name, {}).get(metric) for _, level, metric in COLUMNS)
        yield f"{name:<{width}}" + "".join(f"{_cell(cell):>8}" for cell in cells)


def attention_lines(attention: Mapping[str, Figure]) -> Iterator[str]:
    """Yields what the maps have on the agent, as multiples of a uniform map's mass."""
    for name, what in (
        ("map", "attention"),
        ("evidence", "slots' own map"),
        ("ceiling", "ceiling"),
    ):
        if f"{name}_ratio" in attention:
            value = attention[f"{name}_ratio"]
            low, high = value.ci95 or (value.mean, value.mean)
            span = f"{value.mean:.2f} x uniform (95 % {low:.2f} to {high:.2f})"
            yield f"mass on the agent, {what:<15}{span}"


def _cell(value: Figure | None) -> str:
    return "-" if value is None or np.isnan(value.mean) else f"{value.mean:.2f}"


def _looks(
    model: AimeWorldModel, data: SegmentedEpisodes
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    where = model.pixels.mean
    for frames, actions in zip(data.frames, data.actions, strict=True):
        observed = torch.from_numpy(frames).permute(0, 3, 1, 2)[None]
        out = model.forward_sequence(
            observed.to(where.device), torch.from_numpy(actions)[None].to(where)
        )
        beliefs = out.beliefs
        if beliefs.responsibilities is None or beliefs.log_evidence is None:
            raise ValueError("beliefs: inferred slots and maps are needed, found none")
        masks = model.slot_masks(beliefs)[0].argmax(1)
        side, size = model.config.attention_resolution, frames.shape[1:3]
        grid = beliefs.responsibilities[0].unflatten(-1, (side, side))
        shares = torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=False)
        maps = (out.attention_maps[0], beliefs.log_evidence[0].exp())
        yield masks.cpu(), shares.argmax(1).cpu(), maps[0].cpu(), maps[1].cpu()


def _rows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*tensors, strict=True)


def _where(keep: Bool[Tensor, "*b"], values: Float64[Tensor, "*b"]) -> Float64[Tensor, "*b"]:
    return torch.where(keep, values, torch.nan)
