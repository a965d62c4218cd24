"""The whole comparison: data, jobs, results, pictures, page.

OUT/data/TASK.npz            episodes
OUT/jobs/TASK-ARM-sSEED/     one job each, see ``job``
OUT/world_model.json         all results
OUT/strip-TASK-N.png, curves-TASK.png
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aime_agent.errors import ConfigError, DataError, MissingDependencyError
from aime_agent.training.bench.arms import find_arms
from aime_agent.training.bench.data import DataConfig, ensure
from aime_agent.training.bench.files import write
from aime_agent.training.bench.fit import JobSpec
from aime_agent.training.bench.job import STRIPS
from aime_agent.training.bench.pictures import dream_strip, num_windows, plot_curves
from aime_agent.training.bench.queue import Finished, gather, run_queue
from aime_agent.training.bench.tables import Result, all_tables, by_arm, fill, tasks

RESULTS = "world_model.json"
_SHOWN = ("default", "rssm")
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, on which data, and for how long.

    Raises:
        ConfigError: a value is out of range, or an arm is unknown.
    """

    tasks: tuple[str, ...] = ("cartpole-swingup", "walker-walk")
    arms: str = "all"
    """Comma-separated names."""
    seeds: int = 1
    preset: str = "small"
    updates: int = 3000
    evaluations: int = 10
    train_episodes: int = 40
    held_out_episodes: int = 10
    episode_steps: int = 250
    futures: int = 19

    def __post_init__(self) -> None:
        find_arms(self.arms)
        for name in ("seeds", "train_episodes", "held_out_episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"Comparison.{name} must be at least 1, found {getattr(self, name)}"
                )

    @property
    def episodes(self) -> int:
        """Episodes per task."""
        return self.train_episodes + self.held_out_episodes

    def data_config(self, task: str) -> DataConfig:
        """What is played for a task."""
        return DataConfig(task=task, episodes=self.episodes, steps=self.episode_steps)

    def jobs(self, files: dict[str, Path]) -> list[JobSpec]:
        """All jobs, arm by arm of a seed, so that an early stop leaves whole comparisons."""
        return [
            JobSpec(
                arm=arm.name,
                task=task,
                seed=seed,
                data=str(files[task]),
                preset=self.preset,
                updates=self.updates,
                evaluations=self.evaluations,
                held_out=self.held_out_episodes / self.episodes,
                futures=self.futures,
            )
            for seed in range(self.seeds)
            for arm in find_arms(self.arms)
            for task in self.tasks
        ]


def compare(
    comparison: Comparison,
    out: Path,
    data: Path | None = None,
    jobs: int = 1,
    report: Callable[[Finished], None] = lambda _: None,
) -> list[Finished]:
    """Plays what is missing, runs what is not done, writes results and pictures.

    Args:
        comparison: What to compare.
        out: Folder for everything.
        data: Folder with the episodes, or where they go; None for ``out/data``.
        jobs: Processes at a time.
        report: Called as each job ends.

    Returns:
        The jobs that failed.
    """
    folder = data or out / "data"
    files = {task: ensure(folder, comparison.data_config(task)) for task in comparison.tasks}
    specs = comparison.jobs(files)
    failed = run_queue(specs, out / "jobs", jobs, report)
    results = gather(specs, out / "jobs")
    save_results(results, out / RESULTS)
    draw(results, out)
    return failed


def save_results(results: Sequence[Result], path: Path) -> None:
    """Writes all results into one file.

    Of the losses in training only the last point's stay, and of the episodes' path the file's name:
    a committed file should not tell where somebody's folders lie.
    """
    slim = []
    for result in results:
        curve = [{k: v for k, v in p.items() if k != "training"} for p in result["curve"]]
        spec = {**result["spec"], "data": Path(result["spec"]["data"]).name}
        training = result["curve"][-1]["training"]
        slim.append({**result, "spec": spec, "curve": curve, "training": training})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {"format": _FORMAT, "results": _rounded(slim)}
    write(path, json.dumps(text, separators=(",", ":")).replace('{"spec"', '\n{"spec"').encode())


def load_results(path: Path) -> list[dict[str, Any]]:
    """Reads what `save_results` wrote.

    Raises:
        DataError: the file is missing or is something else.
    """
    try:
        text = json.loads(path.read_text())
        found: list[dict[str, Any]] = text["results"] if text["format"] == _FORMAT else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: results of a comparison required ({error})") from error
    if not found:
        raise DataError(f"{path}: results of format {_FORMAT} required, found none")
    return found


def draw(results: Sequence[Result], out: Path) -> list[Path]:
    """Saves the dream strips, and the curves if matplotlib is there; returns the files."""
    made = []
    for task in tasks(results):
        arms = by_arm(results, task)
        files = {
            arm: out / "jobs" / f"{task}-{arm}-s{arms[arm][0]['spec']['seed']}" / STRIPS
            for arm in _SHOWN
            if arm in arms
        }
        if files and all(path.exists() for path in files.values()):
            for window in range(num_windows(files)):
                made.append(out / f"strip-{task}-{window}.png")
                dream_strip(files, window).save(made[-1], optimize=True)
        try:
            plot_curves(results, task, out / f"curves-{task}.png")
            made.append(out / f"curves-{task}.png")
        except MissingDependencyError:
            continue
    return made


def publish(results_file: Path, page: Path) -> None:
    """Rewrites the tables of a page, and copies the pictures beside the results next to it.

    Args:
        results_file: What `save_results` wrote.
        page: Markdown with table marks; pictures go to ``images/`` beside it.
    """
    text = page.read_text(encoding="utf-8")
    write(page, fill(text, all_tables(load_results(results_file))).encode())
    for picture in sorted(results_file.parent.glob("*.png")):
        if picture.name.startswith(("strip-", "curves-")):
            images = page.parent / "images"
            images.mkdir(exist_ok=True)
            shutil.copyfile(picture, images / f"{page.stem}-{picture.name}")


def _rounded(value: Any) -> Any:
    """Numbers with six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
