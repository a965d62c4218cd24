"""One learning curve: a task, a seed, a number of frames; resumes where it was stopped.

python -m aime_agent.training.bench.curve JOB/spec.json

trains in ``JOB/run`` and writes ``JOB/result.json``: the mean return of deterministic evaluation
episodes after every so many frames, with all it takes to repeat them.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from aime_agent.configs import config_hash, from_dict
from aime_agent.errors import ConfigError
from aime_agent.training.bench.files import RESULT, write
from aime_agent.training.config import TrainConfig
from aime_agent.training.evaluate import versions
from aime_agent.training.parts import Evaluation, Factories, default_evaluation
from aime_agent.training.runfolder import machine
from aime_agent.training.spending import SPENT, spent
from aime_agent.training.train import train

RUN, COMMITS = "run", "commits.json"
POINT = ("frames", "update", "return", "ci95_low", "ci95_high", *SPENT)
"""What a curve's point holds."""


@dataclass(frozen=True, kw_only=True)
class CurveSpec:
    """Everything that decides a curve's numbers.

    Raises:
        ConfigError: a value is out of range, or a setting has a field of its own.
    """

    module: ClassVar[str] = "aime_agent.training.bench.curve"

    task: str
    seed: int = 0
    frames: int = 100_000
    points: int = 10
    """Evaluations, the last one after the last frame."""
    episodes: int = 10
    """Deterministic episodes per evaluation."""
    preset: str = "small"
    render_quality: str = "fast"
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of `TrainConfig`."""

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("points", 1), ("episodes", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"CurveSpec.{name} must be at least {least}, found {getattr(self, name)}"
                )
        if self.frames % self.points:
            raise ConfigError(
                f"CurveSpec.frames must be a multiple of its {self.points} points, "
                f"found {self.frames}"
            )
        if own := sorted({"eval_every_frames", "eval_episodes", "out"} & set(self.settings)):
            raise ConfigError(f"CurveSpec.settings: {own[0]} follows from points and episodes")

    @property
    def name(self) -> str:
        """Folder of the job."""
        return f"{self.task}-s{self.seed}"

    def train_settings(self) -> dict[str, Any]:
        """Arguments of `train`, but for its folder."""
        return {
            "task": self.task,
            "seed": self.seed,
            "frames": self.frames,
            "preset": self.preset,
            "render_quality": self.render_quality,
            "eval_every_frames": self.frames // self.points,
            "eval_episodes": self.episodes,
            **self.settings,
        }


def run(spec: CurveSpec, folder: Path) -> dict[str, Any]:
    """Trains to the end, from where it was stopped; returns and writes the result."""
    home = folder / RUN
    note_commit(folder)
    resume = (home / "config.json").exists()
    before = read_curve(home / "metrics.jsonl") if resume else []
    done = {name: before[-1][name] if before else 0.0 for name in SPENT}
    factories = Factories(evaluate=counting(done))
    agent = train(**spec.train_settings(), out=home, resume=resume, factories=factories)
    config = from_dict(TrainConfig, json.loads((home / "config.json").read_text()))
    world = agent.world_model.parameters()
    result = {
        "spec": asdict(spec),
        "task": spec.task,
        "seed": spec.seed,
        "curve": read_curve(home / "metrics.jsonl"),
        "parameters": {
            "world_model": sum(p.numel() for p in world),
            "behaviour": sum(
                p.numel() for m in agent.behaviour.modules.values() for p in m.parameters()
            ),
        },
        "replay_ratio": config.replay_ratio,
        "action_repeat": config.action_repeat,
        "render_quality": config.render_quality,
        "config_hash": config_hash(agent.config),
        "commits": commits(folder),
        "versions": versions(),
        "machine": machine(),
    }
    write(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def read_curve(metrics: Path) -> list[dict[str, float]]:
    """Returns the evaluations of a run in order, by the names of `POINT`; none if it has no file."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    records = [json.loads(line) for line in lines]
    return [{n: r[n] for n in POINT if n in r} for r in records if r["kind"] == "eval"]


def counting(done: Mapping[str, float]) -> Callable[[TrainConfig], Evaluation | None]:
    """Returns the usual evaluation that also notes what has been spent so far.

    Args:
        done: What earlier processes of the same run had spent at their last evaluation.
    """

    def make(config: TrainConfig) -> Evaluation | None:
        evaluate = default_evaluation(config)
        if evaluate is None:
            return None
        return lambda agent: {**evaluate(agent), **spent(done)}

    return make


def commits(folder: Path) -> list[str]:
    """Returns the commits of the code that a run was made with, the first one first."""
    file = folder / COMMITS
    found: list[str] = json.loads(file.read_text()) if file.exists() else []
    return found


def note_commit(folder: Path) -> None:
    """Adds the commit of the code that runs to those of a job."""
    known = commits(folder)
    if (now := commit()) not in known:
        write(folder / COMMITS, json.dumps([*known, now]).encode())


def commit() -> str:
    """Returns the commit of the code that runs, ``+`` behind it if files differ; or ``unknown``."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    run(from_dict(CurveSpec, json.loads(path.read_text())), path.parent)
