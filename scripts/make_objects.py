"""Rewrites the tables of docs/objects.md from the results of `aime-agent bench objects`.

Usage: python scripts/make_objects.py --results benchmarks/results/objects --page docs/objects.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from aime_agent.training.bench.tables import fill, markdown
from aime_agent.training.objects import COLUMNS

MODEL_ROWS = ("slot masks", "slots on the grid")
RESULTS = Path("benchmarks/results/objects")
LEARNED = (
    ("agent IoU", "agent", "agent_iou"),
    ("agent ARI", "agent", "ari"),
    ("limbs FG-ARI", "limbs", "fg_ari"),
    ("bodies FG-ARI", "bodies", "fg_ari"),
)
"""Columns of what was learned: heading, level, metric."""
RATIOS = (("map", "A"), ("evidence", "A_slots"))


@dataclass(frozen=True)
class Args:
    """What is read, and what is rewritten."""

    results: Path = RESULTS
    """Folder of the JSON files."""
    page: Path = Path("docs/objects.md")
    """The page whose tables are rewritten."""


def tables(folder: Path) -> dict[str, str]:
    """Returns the page's tables by name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    made = {f"baselines {f['task']}": baselines(f) for f in found if not f.get("fit")}
    fitted = sorted((f for f in found if f.get("fit")), key=order)
    return made | {"masks": masks(fitted), "attention": attention(fitted)}


def order(found: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts by task, then by data, then by what was changed."""
    fit = found["fit"]
    on = fit["episodes"] * fit["steps"]
    return (found["task"] != "walker-stand", found["task"], -on, len(changed(fit)), changed(fit))


def baselines(found: Mapping[str, Any]) -> str:
    """Returns every blind segmentation's means."""
    head = ["", *(f"{level} {name}" for name, level, _ in COLUMNS)]
    names = [name for name in found["levels"]["bodies"] if name not in MODEL_ROWS]
    rows = [
        [name, *(mean(found["levels"][level][name][metric]) for _, level, metric in COLUMNS)]
        for name in sorted(names, key=placed)
    ]
    return markdown(head, rows)


def placed(name: str) -> tuple[int, str]:
    """Blind methods first, then what knows the truth."""
    return (name.startswith("truth") + (" x " in name), name)


def masks(fitted: list[dict[str, Any]]) -> str:
    """Returns what slots found, with intervals."""
    head = ["task", "settings", "updates", "on", "labels", *(name for name, _, _ in LEARNED)]
    rows = [
        [f["task"], *fitted_on(f["fit"]), who]
        + [spread(f["levels"][level][who][metric]) for _, level, metric in LEARNED]
        for f in fitted
        for who in MODEL_ROWS
    ]
    return markdown(head, rows)


def attention(fitted: list[dict[str, Any]]) -> str:
    """Returns the mass on the agent as multiples of a uniform map's."""
    head = ["task", "settings", "updates", "on", *(name for _, name in RATIOS), "ceiling"]
    rows = [
        [f["task"], *fitted_on(f["fit"])]
        + [spread(f["attention"][f"{name}_ratio"]) for name, _ in RATIOS]
        + [mean(f["attention"]["ceiling_ratio"])]
        for f in fitted
    ]
    return markdown(head, rows)


def fitted_on(fit: Mapping[str, Any]) -> list[str]:
    """Returns settings, updates, and episodes × frames."""
    return [settings(fit), str(fit["updates"]), f"{fit['episodes']} × {fit['steps']}"]


def settings(fit: Mapping[str, Any]) -> str:
    """Returns what differs from the preset, as typed."""
    return ", ".join(f"`{pair}`" for pair in changed(fit)) or f"`{fit['preset']}` as it is"


def changed(fit: Mapping[str, Any]) -> list[str]:
    """Returns the settings as KEY=VALUE, groups joined by dots."""
    pairs = []
    for key, value in fit["settings"].items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else None
        pairs += [f"{k}={v}" for k, v in (inner or {key: value}).items()]
    return sorted(pairs)


def mean(value: Mapping[str, Any]) -> str:
    """Returns two decimals; a dash where there is no value."""
    return "-" if value["mean"] is None else f"{value['mean'] + 0.0:.2f}".replace("-0.00", "0.00")


def spread(value: Mapping[str, Any]) -> str:
    """Returns mean and 95 % interval."""
    if value["ci95"] is None:
        return mean(value)
    low, high = ({"mean": end} for end in value["ci95"])
    return f"{mean(value)} [{mean(low)}, {mean(high)}]"


def main(args: Args) -> None:
    text = args.page.read_text(encoding="utf-8")
    args.page.write_text(fill(text, tables(args.results)), encoding="utf-8")
    print(f"tables rewritten in {args.page}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
