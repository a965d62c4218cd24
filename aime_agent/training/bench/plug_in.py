"""Agents, planners and Stable-Baselines3 at equal real frames, over the cores.

OUT/jobs/world-TASK-fFRAMES-sSEED/run    world models that arms share, see ``curve``
OUT/jobs/ARM-TASK-fFRAMES-sSEED/         one arm each, see ``arm``
FILE.json                                every run that was ever started, finished or not
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aime_agent.data.saved import names
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.training.bench.arm_spec import ARMS, ArmSpec, WorldSpec
from aime_agent.training.bench.curve import RUN, commits
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.queue import Finished, Job, finished, run_queue
from aime_agent.training.bench.rows import save_rows, stored_rows
from aime_agent.training.config import TrainConfig
from aime_agent.training.runfolder import RunFolder


@dataclass(frozen=True, kw_only=True)
class PlugIn:
    """What is compared.

    Raises:
        ConfigError: a value is out of range.
    """

    task: str = "cartpole-balance"
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ARMS
    frames: int = 100_000
    episodes: int = 10
    preset: str = "small"
    render_quality: str = "fast"
    dream_frames: int = 1_000_000
    settings: dict[str, Any] = field(default_factory=dict)
    sb3: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("arms", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"PlugIn.{name} must name each once, found {values}")

    def specs(self, home: Path, worlds: Path | None = None) -> list[ArmSpec]:
        """All arms of a seed before the next seed.

        Args:
            home: Where the jobs' folders lie; that of a world model that is to be trained too.
            worlds: Where trained runs lie that may be taken instead.
        """
        shared = asdict(self) | {"arms": None, "seeds": None}
        common = {name: value for name, value in shared.items() if value is not None}
        plain = [ArmSpec(arm=a, seed=s, **common) for s in self.seeds for a in self.arms]
        return [replace(spec, world=_world(spec, home, worlds)) for spec in plain]


def compare(
    plug_in: PlugIn,
    out: Path,
    file: Path,
    jobs: int = 1,
    worlds: Path | None = None,
    report: Callable[[Finished], None] = lambda _: None,
) -> list[Finished]:
    """Runs what is not done and writes each arm's row as soon as it ends; returns what failed.

    Args:
        plug_in: What to run.
        out: Folder for the jobs.
        file: Rows of this comparison and of earlier ones.
        jobs: Processes at a time, one thread each.
        worlds: Folder with trained runs to take world models from.
        report: Called as each job ends.
    """
    home = out / "jobs"
    specs = plug_in.specs(home, worlds)
    needs = {spec.name: world for spec in specs if (world := _missing(spec, home)) is not None}

    def write() -> None:
        save_rows([*stored_rows(file), *rows(specs, home)], file)

    def ended(end: Finished) -> None:
        write()
        report(end)

    def ready(job: Job) -> bool:
        world = needs.get(job.name)
        return world is None or finished(world, home / world.name)

    try:
        return run_queue(list(_in_order(specs, needs)), home, jobs, ended, ready)
    finally:
        write()


def rows(specs: Sequence[ArmSpec], home: Path) -> list[dict[str, Any]]:
    """Returns a row per run that was started, of arms and of the world models they need."""
    worlds = {w.name: w for s in specs if (w := _missing(s, home)) is not None}
    jobs: list[ArmSpec | WorldSpec] = [*worlds.values(), *specs]
    found = []
    for spec in jobs:
        folder = home / spec.name
        arm = spec.arm if isinstance(spec, ArmSpec) else "world"
        row: dict[str, Any] = {"spec": asdict(spec), "arm": arm}
        row |= {"task": spec.task, "seed": spec.seed}
        if finished(spec, folder):
            row |= json.loads((folder / RESULT).read_text()) | {"finished": True}
        elif known := commits(folder):
            row |= {"commits": known, "finished": False}
        else:
            continue
        if "world" in row["spec"]:
            row["spec"]["world"] = _label(row["spec"]["world"])
        found.append(row)
    return found


def find_world(wanted: TrainConfig, worlds: Path) -> Path | None:
    """Returns a run that was trained to its end just as wanted, if one lies in a folder or below it."""
    for file in sorted(worlds.rglob("config.json")):
        try:
            config = RunFolder(file.parent, TrainConfig).read_config()
        except CheckpointError:
            continue
        last = f"step_{wanted.frames:09d}"
        same = config.fixed_hash() == wanted.fixed_hash() and config.frames == wanted.frames
        if same and last in [p.name for p in names(file.parent)]:
            return file.parent
    return None


def _world(spec: ArmSpec, home: Path, worlds: Path | None) -> str:
    """The run of an arm's world model: one that lies there, or the one to be trained."""
    world = spec.world_spec
    if world is None:
        return ""
    found = None if worlds is None else find_world(spec.world_config, worlds)
    return str(found or home / world.name / RUN)


def _missing(spec: ArmSpec, home: Path) -> WorldSpec | None:
    """The world model's job, if the arm takes its world model from this comparison."""
    world = spec.world_spec
    return world if world and spec.world == str(home / world.name / RUN) else None


def _in_order(specs: Sequence[ArmSpec], needs: dict[str, WorldSpec]) -> Iterator[Job]:
    """Every seed's world models, the longer first, then its arms."""
    for seed in dict.fromkeys(spec.seed for spec in specs):
        arms = [spec for spec in specs if spec.seed == seed]
        worlds = {needs[a.name].name: needs[a.name] for a in arms if a.name in needs}
        yield from sorted(worlds.values(), key=lambda w: -w.frames)
        yield from arms


def _label(world: str) -> str:
    """A run's name without the place where it lies."""
    path = Path(world)
    return path.parent.name if path.name == RUN else path.name
