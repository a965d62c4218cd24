"""Settings of a run. One *frame* is one physics control step; action repeat counts."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from aime_agent.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings that every kind of run has.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    changeable: ClassVar[frozenset[str]] = frozenset(
        {
            "out",
            "checkpoint_every",
            "keep_checkpoints",
            "log_every",
            "image_every",
            "device",
            "threads",
            "tensorboard",
        }
    )
    """Settings that a resumed run may change: none of them alters what is learned up to a moment,
    except that another device or thread count rounds differently."""
    least: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "seed": 0,
            "batch_size": 1,
            "sequence_length": 1,
            "checkpoint_every": 1,
            "keep_checkpoints": 1,
            "log_every": 1,
            "image_every": 0,
            "threads": 0,
        }
    )
    """Whole numbers and the smallest that works."""

    preset: str = "small"
    """Size of the model: tiny, small, base or seed84."""
    seed: int = 0
    """Decides everything random."""
    out: str = ""
    """Run folder; empty for a name made of the above."""
    batch_size: int = 8
    """Windows per update."""
    sequence_length: int = 16
    """Rows per window."""
    checkpoint_every: int = 1000
    """Frames between two checkpoints; updates where no frames are collected."""
    keep_checkpoints: int = 2
    """How many checkpoints stay."""
    log_every: int = 20
    """Updates between two lines of metrics; a line holds their means."""
    image_every: int = 500
    """Updates between two sets of pictures in TensorBoard; 0 for none."""
    device: str = "cpu"
    """Where the model learns."""
    threads: int = 0
    """Threads of torch; 0 leaves its default."""
    tensorboard: bool = True
    """Also write TensorBoard events."""
    world_model: dict[str, Any] = field(default_factory=dict)
    """Changes to the preset's world model, by field."""
    agent: dict[str, Any] = field(default_factory=dict)
    """Changes to the preset's actor-critic, by field."""

    def __post_init__(self) -> None:
        for name, least in self.least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{type(self).__name__}.{name} must be an integer of at least {least}, "
                    f"found {value!r}"
                )

    def fixed_hash(self) -> str:
        """Hash of the settings that a resumed run must not change."""
        settings = dataclasses.asdict(self)
        fixed = {k: v for k, v in settings.items() if k not in self.changeable}
        text = json.dumps(fixed, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """All settings of a training run.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    changeable: ClassVar[frozenset[str]] = RunConfig.changeable | {
        "frames",
        "eval_every_frames",
        "eval_episodes",
    }
    least: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            **RunConfig.least,
            "frames": 1,
            "action_repeat": 1,
            "num_envs": 1,
            "train_every": 1,
            "updates_per_round": 1,
            "prefill_frames": 0,
            "pretrain_updates": 0,
            "replay_bytes": 0,
            "eval_every_frames": 0,
            "eval_episodes": 0,
            "image_size": 32,
        }
    )

    task: str
    """``walker-walk``, or any registered Gymnasium id with pixels."""
    frames: int = 100_000
    """Physics control steps to collect in all (action repeat counts)."""
    action_repeat: int = 2
    """Control steps per action."""
    image_size: int = 64
    """Side of the frames in pixels, at least 32."""
    camera_id: int | str = 0
    """Camera by number or name."""
    render_quality: Literal["standard", "fast", "minimal"] = "standard"
    """What the frames are rendered with."""
    num_envs: int = 1
    """Environments stepped side by side, one process each."""
    prefill_frames: int = 1000
    """Frames of uniformly random actions before anything is learned."""
    train_every: int = 2
    """Actions per environment between two rounds of updates."""
    updates_per_round: int = 1
    """Gradient updates per round."""
    pretrain_updates: int = 100
    """Updates on the random frames before the policy acts."""
    replay_bytes: int = 0
    """Cap on the replay in bytes, oldest shards first; 0 for none."""
    eval_every_frames: int = 0
    """Frames between two evaluations; 0 for one at the end."""
    eval_episodes: int = 5
    """Episodes per evaluation; 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.task:
            raise ConfigError("TrainConfig.task must name a task such as 'walker-walk', found ''")
        if self.render_quality not in ("standard", "fast", "minimal"):
            raise ConfigError(
                "TrainConfig.render_quality must be 'standard', 'fast' or 'minimal', "
                f"found {self.render_quality!r}"
            )
        if self.prefill_frames < (least := self.frames_per_round * (self.sequence_length + 1)):
            raise ConfigError(
                f"TrainConfig.prefill_frames must fill one window ({least} frames), "
                f"found {self.prefill_frames}"
            )

    @property
    def frames_per_round(self) -> int:
        """Frames collected when every environment acts once."""
        return self.action_repeat * self.num_envs

    @property
    def replay_ratio(self) -> float:
        """Rows learned from per row collected."""
        learned = self.updates_per_round * self.batch_size * self.sequence_length
        return learned / (self.train_every * self.num_envs)

    @property
    def run_name(self) -> str:
        """Default name of the run folder."""
        return f"{self.task.replace('/', '-')}-{self.preset}-s{self.seed}"
