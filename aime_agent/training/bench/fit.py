"""A model while it is fitted to stored episodes, and how these are divided.

Batches and noise depend on (seed, update) only, so all arms of a seed learn from the same windows in
the same order, and a fit that was interrupted ends in the same numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from aime_agent.agents.learner import WorldModelLearner, sequence_data
from aime_agent.agents.parts import join, part
from aime_agent.agents.randomness import seeded
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.splits import EpisodeSpan, split_episodes
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError
from aime_agent.training.bench.arms import arm_config, arm_training, find_arms
from aime_agent.training.bench.data import Stored
from aime_agent.training.bench.files import write
from aime_agent.training.prediction import PredictionConfig
from aime_agent.training.seeding import numpy_rng
from aime_agent.training.windows import Windows, cut_windows
from aime_agent.world_model.model import AimeWorldModel

_STATE, _PROGRESS = "state.safetensors", "progress.json"
_CPU = torch.device("cpu")
_BEGIN_FRAMES = 512
STRIP_EPISODES = 2


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """Everything that decides a job's numbers.

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    module: ClassVar[str] = "aime_agent.training.bench.job"

    arm: str
    task: str
    seed: int
    data: str
    """File of the task's episodes."""
    preset: str = "small"
    updates: int = 3000
    evaluations: int = 10
    """Points of the curve, the last one after the last update."""
    batch_size: int = 8
    sequence_length: int = 16
    held_out: float = 0.2
    """Share of the episodes that no update sees."""
    per_episode: int = 4
    """Windows per held-out episode in the final judgement; half of them in the curve."""
    futures: int = 19

    def __post_init__(self) -> None:
        for name in ("updates", "evaluations", "batch_size", "per_episode"):
            if getattr(self, name) < 1:
                raise ConfigError(f"JobSpec.{name} must be at least 1, found {getattr(self, name)}")
        if self.evaluations > self.updates:
            raise ConfigError(
                f"JobSpec.evaluations must be at most the {self.updates} updates, "
                f"found {self.evaluations}"
            )

    @property
    def name(self) -> str:
        """Folder of the job."""
        return f"{self.task}-{self.arm}-s{self.seed}"

    @property
    def points(self) -> list[int]:
        """Updates after which the curve has a point."""
        return [round(self.updates * (k + 1) / self.evaluations) for k in range(self.evaluations)]


class Held(NamedTuple):
    """What a job is judged on."""

    full: Windows
    curve: Windows
    strips: Windows
    mean_frame: Tensor


class Fit:
    """A model while it is fitted; `load` and `save` move it across an interruption."""

    def __init__(self, spec: JobSpec, stored: Stored, folder: Path, scratch: Path) -> None:
        (arm,) = find_arms(spec.arm)
        image_size = stored.episodes[0].frames.shape[1]
        actions = stored.episodes[0].actions.shape[1]
        self.spec, self.folder = spec, folder
        self.world = arm_config(arm, spec.preset, action_dim=actions, image_size=image_size)
        self.training = arm_training(arm, spec.preset, spec.updates)
        with seeded(spec.seed, "weights", 0, _CPU):
            self.model = AimeWorldModel(self.world)
        self.learner = WorldModelLearner(self.model, self.training)
        self.replay, self.held = divide(spec, stored, scratch)

    def begin(self) -> None:
        """Fits what depends on the data."""
        frames = self.replay.frames(_BEGIN_FRAMES, numpy_rng(self.spec.seed, "begin"))
        with seeded(self.spec.seed, "begin", 0, _CPU):
            self.model.begin(frames)
            self.learner.restart_average()

    def update(self, step: int) -> dict[str, Tensor]:
        """One update on the windows that belong to it."""
        s = self.spec
        batch = self.replay.sample(
            s.batch_size, s.sequence_length, numpy_rng(s.seed, "bench batch", step)
        )
        with seeded(s.seed, "update", step, _CPU):
            data = sequence_data(self.model, batch, self.training)
            return self.learner.update(data, step)[2]

    def save(self, progress: Mapping[str, Any]) -> None:
        """Writes the state; the progress file, which names it complete, comes last."""
        tensors = join(model=self.model.state_dict(), learner=self.learner.state_dict())
        # Tied or expanded tensors must not share memory in the file.
        tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        data = safetensors.torch.save(tensors)
        write(self.folder / f"{progress['updates']}-{_STATE}", data)
        write(self.folder / _PROGRESS, json.dumps(progress).encode())
        for old in self.folder.glob(f"*-{_STATE}"):
            if not old.name.startswith(f"{progress['updates']}-"):
                old.unlink()

    def load(self) -> dict[str, Any] | None:
        """Restores the last saved state and returns the progress; None if there is none."""
        path = self.folder / _PROGRESS
        if not path.exists():
            return None
        progress: dict[str, Any] = json.loads(path.read_text())
        if progress["spec"] != asdict(self.spec):
            return None
        state = (self.folder / f"{progress['updates']}-{_STATE}").read_bytes()
        tensors = safetensors.torch.load(state)
        self.model.load_state_dict(part(tensors, "model"))
        self.learner.load_state_dict(part(tensors, "learner"))
        return progress


def divide(spec: JobSpec, stored: Stored, scratch: Path) -> tuple[ReplayBuffer, Held]:
    """Puts the training episodes into a replay, and cuts the held-out ones into windows."""
    spans = [EpisodeSpan(0, k, 0, len(e)) for k, e in enumerate(stored.episodes)]
    train, held = (
        stored.part([s.number for s in side]) for side in split_episodes(spans, 1, spec.held_out)
    )
    frames = train.episodes[0].frames
    layout = plan_layout(frames.shape[1:], train.episodes[0].actions.shape[1], 1, None)
    replay = ReplayBuffer(ShardStore(scratch, layout))
    for episode in train.episodes:
        replay.add_episode(0, episode)
    means = [torch.from_numpy(e.frames.mean(0)) for e in train.episodes]
    mean_frame = torch.stack(means).mean(0).permute(2, 0, 1).float() / 255.0
    length = PredictionConfig().length

    def windows(some: Stored, count: int) -> Windows:
        return cut_windows(some.episodes, length, count, some.foregrounds)

    first = held.part(range(min(STRIP_EPISODES, len(held.episodes))))
    return replay, Held(
        windows(held, spec.per_episode),
        windows(held, max(1, spec.per_episode // 2)),
        windows(first, 1),
        mean_frame,
    )
