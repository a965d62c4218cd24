"""Markdown tables from the results of a comparison, and the page that holds them.

A page marks where a table goes; `fill` rewrites what lies between the marks and nothing else:

    <!-- table: arms walker-walk -->
    <!-- end -->

Two readings of the same runs: after equal updates, and after equal processor time, which is that of
the cheapest arm of the task; there the curves are read off by linear interpolation.
"""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.errors import DataError
from aime_agent.training.bench.files import write

Result = Mapping[str, Any]
_MARKED = re.compile(r"(<!-- table: (?P<name>[\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_METHODS = {
    "copy_last": "last seen frame",
    "mean_frame": "mean training frame",
}
_PATHS = {
    "likeliest": "likeliest path",
    "sampled": "one sampled future",
    "mean_of_n": "mean of {n}",
    "best_of_n": "best of {n}",
}
_SHOWN_PATHS = ("default", "rssm")
LONG = "15"
"""Horizon that arms are compared at in one number."""


class Spread(NamedTuple):
    """Mean over seeds, and standard deviation if there are several."""

    mean: float
    deviation: float | None

    def text(self, digits: int = 2) -> str:
        """For a table."""
        if self.deviation is None:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ± {self.deviation:.{digits}f}"


def spread(values: Sequence[float]) -> Spread:
    """Summarises the seeds.

    >>> spread([1.0, 3.0]).text()
    '2.00 ± 1.41'
    """
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation)


def tasks(results: Sequence[Result]) -> list[str]:
    """Names of the tasks, in order of appearance."""
    return list(dict.fromkeys(r["spec"]["task"] for r in results))


def by_arm(results: Sequence[Result], task: str) -> dict[str, list[Result]]:
    """Arm → its results on a task, one per seed."""
    found: dict[str, list[Result]] = {}
    for r in results:
        if r["spec"]["task"] == task:
            found.setdefault(r["spec"]["arm"], []).append(r)
    return found


def mask_name(result: Result) -> str:
    """``fg`` or ``moving``: first part of the masked metric's name."""
    return str(result["final"]["mask"])


def picture(result: Result, method: str, horizon: str, metric: str | None = None) -> float:
    """A score of the final judgement; the masked PSNR unless told."""
    metric = metric or f"{mask_name(result)}_psnr"
    return float(result["final"]["pictures"][method][metric][horizon])


def at_cpu(result: Result, seconds: float, read: Callable[[Result], float]) -> float:
    """Reads a curve after so much processor time; the ends are not extrapolated."""
    points = [(p["cpu_seconds"], read(p)) for p in result["curve"]]
    if seconds <= points[0][0]:
        return points[0][1]
    for (t0, y0), (t1, y1) in pairwise(points):
        if seconds <= t1:
            return y0 + (y1 - y0) * (seconds - t0) / (t1 - t0)
    return points[-1][1]


def equal_cpu(arms: Mapping[str, Sequence[Result]]) -> float:
    """Processor seconds that every arm has spent: the total of the cheapest one."""
    return min(r["curve"][-1]["cpu_seconds"] for rows in arms.values() for r in rows)


def curve_score(result: Result, horizon: str) -> Callable[[Result], float]:
    """Reads the masked PSNR off a point of the curve."""
    metric = f"{mask_name(result)}_psnr"
    return lambda point: float(point["pictures"][metric][horizon])


def prediction_table(results: Sequence[Result], task: str) -> str:
    """Pictures of the default and of the control against the two baselines."""
    arms = by_arm(results, task)
    one = next(iter(arms.values()))[0]
    horizons = [str(h) for h in one["final"]["horizons"]]
    metrics = [f"{mask_name(one)}_psnr", "psnr", "ssim"]
    names = [m.replace("_psnr", "-PSNR").replace("psnr", "PSNR").upper() for m in metrics]
    head = ["prediction", *(f"{n} {h}" for n in names for h in horizons)]
    rows = []
    for method, label in _METHODS.items():
        rows.append([label, *_scores([one], method, metrics, horizons)])
    for arm in [a for a in _SHOWN_PATHS if a in arms]:
        for method, label in _PATHS.items():
            if method in one["final"]["pictures"]:
                text = f"`{arm}`, {label.format(n=one['final']['futures'])}"
                rows.append([text, *_scores(arms[arm], method, metrics, horizons)])
    return markdown(head, rows)


def _scores(
    rows: Sequence[Result], method: str, metrics: Sequence[str], horizons: Sequence[str]
) -> list[str]:
    return [
        spread([picture(r, method, h, metric) for r in rows]).text(3 if metric == "ssim" else 1)
        for metric in metrics
        for h in horizons
    ]


def arms_table(results: Sequence[Result], task: str) -> str:
    """One row per arm: size, cost, and quality after equal updates and after equal time."""
    arms = by_arm(results, task)
    one = next(iter(arms.values()))[0]
    seconds = equal_cpu(arms)
    metric = f"{mask_name(one).upper()}-PSNR"
    longest = str(one["final"]["horizons"][-1])
    head = [
        "arm", "differs from", "in", "parameters", "CPU ms per update",
        f"{metric} {LONG}", f"{metric} {longest}", f"{metric} {LONG} at equal CPU",
        f"reward error {LONG}", f"reward correlation {LONG}", f"latent error {LONG}",
        "bits per dim", "seeds",
    ]  # fmt: skip
    rows = []
    for name, found in arms.items():
        final = [r["final"] for r in found]
        rows.append([
            f"`{name}`",
            f"`{found[0]['arm']['base']}`" if found[0]["arm"]["base"] else "",
            found[0]["arm"]["what"],
            f"{found[0]['parameters']:,}",
            spread([1000 * r["cpu_seconds_per_update"] for r in found]).text(0),
            spread([picture(r, "likeliest", LONG) for r in found]).text(),
            spread([picture(r, "likeliest", longest) for r in found]).text(),
            spread([at_cpu(r, seconds, curve_score(r, LONG)) for r in found]).text(),
            spread([f["reward"]["error"][LONG] for f in final]).text(4),
            spread([f["reward"]["correlation"][LONG] for f in final]).text(),
            spread([f["latent"]["error"][LONG] for f in final]).text(),
            spread([f["bits_per_dim"] for f in final]).text(3),
            str(len(found)),
        ])  # fmt: skip
    return markdown(head, rows)


def calibration_table(results: Sequence[Result], task: str) -> str:
    """Share of truths inside the nominal intervals of the sampled futures."""
    arms = {
        name: found
        for name, found in by_arm(results, task).items()
        if all("calibration" in r["final"] for r in found)
    }
    if not arms:
        raise DataError(f"{task}: results with sampled futures required, found none")
    horizons = [str(h) for h in next(iter(arms.values()))[0]["final"]["horizons"]]
    names = [(what, level) for what in ("reward", "latent") for level in ("50", "90")]
    head = ["arm", *(f"{w} {level} %, {h}" for w, level in names for h in horizons)]
    rows = [
        [
            f"`{name}`",
            *(
                f"{100 * _mean(found, w, level, h):.0f}"
                for w, level in names
                for h in horizons
            ),
        ]
        for name, found in arms.items()
    ]  # fmt: skip
    return markdown(head, rows)


def _mean(found: Sequence[Result], what: str, level: str, horizon: str) -> float:
    return statistics.fmean(
        r["final"]["calibration"][what][f"coverage_{level}"][horizon] for r in found
    )


def claims_table(results: Sequence[Result]) -> str:
    """What the default should reach, task by task, with the figures that decide it."""
    rows = []
    for task in tasks(results):
        arms = by_arm(results, task)
        if "default" in arms:
            rows += _claims(task, arms)
    return markdown(["task", "claim", "holds", "margins in dB"], rows)


def _claims(task: str, arms: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    ours = arms["default"]
    horizons = [str(h) for h in ours[0]["final"]["horizons"]]
    upto = [h for h in horizons if int(h) <= int(LONG)]
    rows = []
    for method, chosen, text in (
        ("copy_last", horizons, "beats the last seen frame at every horizon"),
        ("mean_frame", upto, f"beats the mean frame up to horizon {LONG}"),
    ):
        gaps = {
            h: statistics.fmean(picture(r, "likeliest", h) - picture(r, method, h) for r in ours)
            for h in chosen
        }
        rows.append(_claim(task, text, gaps))
    for name in [n for n in ("rssm", "rssm_narrow") if n in arms]:
        seconds = min(equal_cpu({"a": ours}), equal_cpu({"b": arms[name]}))
        gaps = {h: _read(ours, h, seconds) - _read(arms[name], h, seconds) for h in horizons}
        rows.append(_claim(task, f"not worse than `{name}` at equal CPU", gaps))
    return rows


def _read(found: Sequence[Result], horizon: str, seconds: float) -> float:
    return statistics.fmean(at_cpu(r, seconds, curve_score(r, horizon)) for r in found)


def _claim(task: str, text: str, gaps: Mapping[str, float]) -> list[str]:
    figures = ", ".join(f"{h}: {gap:+.2f}" for h, gap in gaps.items())
    return [task, text, "yes" if min(gaps.values()) >= 0 else "**no**", figures]


def all_tables(results: Sequence[Result]) -> dict[str, str]:
    """Every table by the name under which a page asks for it."""
    found = {"claims": claims_table(results)}
    for task in tasks(results):
        found[f"prediction {task}"] = prediction_table(results, task)
        found[f"arms {task}"] = arms_table(results, task)
        found[f"calibration {task}"] = calibration_table(results, task)
    return found


def fill(page: str, tables: Mapping[str, str]) -> str:
    """Returns the page with the tables that it asks for.

    Raises:
        DataError: it asks for one that the results do not have.
    """

    def put(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            raise DataError(f"page: no table {name!r} in the results, found {sorted(tables)}")
        return f"{match[1]}\n{tables[name]}\n{match[3]}"

    return _MARKED.sub(put, page)


def fill_page(page: Path, tables: Mapping[str, str]) -> None:
    """Rewrites the tables of a page."""
    write(page, fill(page.read_text(encoding="utf-8"), tables).encode())


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, ended by a newline.

    >>> print(markdown(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
