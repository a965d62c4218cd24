"""What one arm of the comparison at equal real frames is: who learns from N frames of a task.

Frames count whoever collected them, so an arm on a world model of M frames has N − M of its own:

    random              plays at random, learns from nothing
    sac-pixels          SAC of Stable-Baselines3 on stacked frames, N frames
    agent               the actor that learned with the world model of N frames
    mppi                plans in that world model, proposals and values from that actor and its critic
    sac-beliefs         SAC on beliefs of a world model of N/2 frames, N/2 frames of its own
    sac-beliefs-slots   the same with slots
    ppo-dream           PPO inside the world model of N frames, no further real frame
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aime_agent.configs import override
from aime_agent.errors import ConfigError, nearest
from aime_agent.training.bench.curve import CurveSpec
from aime_agent.training.config import TrainConfig
from aime_agent.training.sb3_config import Sb3Config

_WORLDS = {
    "random": 0.0,
    "sac-pixels": 0.0,
    "agent": 1.0,
    "mppi": 1.0,
    "sac-beliefs": 0.5,
    "sac-beliefs-slots": 0.5,
    "ppo-dream": 1.0,
}
ARMS = tuple(_WORLDS)
"""All arms, in the order of the table."""
_SB3: dict[str, dict[str, Any]] = {
    "sac-pixels": {"algo": "sb3-sac", "features": "pixels"},
    "sac-beliefs": {"algo": "sb3-sac", "features": "belief"},
    "sac-beliefs-slots": {"algo": "sb3-sac", "features": "slots"},
    "ppo-dream": {"algo": "sb3-ppo", "features": "belief", "inside_dream": True},
}


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """Everything that decides an arm's numbers.

    Raises:
        ConfigError: a value is out of range, or the arm is unknown.
    """

    module: ClassVar[str] = "aime_agent.training.bench.arm"

    arm: str
    task: str
    seed: int = 0
    frames: int = 100_000
    """Real frames in all."""
    episodes: int = 10
    """Deterministic episodes that the score is the mean of."""
    preset: str = "small"
    """Size of the world model."""
    render_quality: str = "fast"
    dream_frames: int = 1_000_000
    """Frames that ``ppo-dream`` trains on; they cost no real one."""
    world: str = ""
    """Run of the world model; empty where the arm has none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of `TrainConfig`, for the world model."""
    sb3: dict[str, Any] = field(default_factory=dict)
    """Further fields of `Sb3Config`."""

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise ConfigError(f"ArmSpec.arm: unknown {self.arm!r}. {nearest(self.arm, ARMS)}")
        for name, least in (("frames", 1), ("episodes", 1), ("seed", 0), ("dream_frames", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"ArmSpec.{name} must be at least {least}, found {getattr(self, name)}"
                )
        if self.frames % (step := 2 * self.world_config.action_repeat):
            raise ConfigError(
                f"ArmSpec.frames must be a multiple of {step}, so that half of them are whole "
                f"actions, found {self.frames}"
            )

    @property
    def name(self) -> str:
        """Folder of the job."""
        return f"{self.arm}-{self.task.replace('/', '-')}-f{self.frames}-s{self.seed}"

    @property
    def world_frames(self) -> int:
        """Real frames that the arm's world model learned from."""
        return round(_WORLDS[self.arm] * self.frames)

    @property
    def own_frames(self) -> int:
        """Real frames that it learns from besides."""
        return 0 if self.arm == "random" else self.frames - self.world_frames

    @property
    def world_config(self) -> TrainConfig:
        """Settings of the world model's run, or of its environment where there is none."""
        chosen = {"preset": self.preset, "render_quality": self.render_quality, "seed": self.seed}
        frames = self.world_frames or self.frames
        return override(TrainConfig(task=self.task), **chosen, frames=frames, **self.settings)

    @property
    def world_spec(self) -> "WorldSpec | None":
        """The job that trains its world model."""
        if not self.world_frames:
            return None
        return WorldSpec(
            task=self.task,
            seed=self.seed,
            frames=self.world_frames,
            points=1,
            episodes=1,
            preset=self.preset,
            render_quality=self.render_quality,
            settings=self.settings,
        )

    def sb3_config(self, out: str) -> Sb3Config | None:
        """Settings of the arm's training with Stable-Baselines3; None for one that has none."""
        if self.arm not in _SB3:
            return None
        c, dream = self.world_config, self.arm == "ppo-dream"
        chosen: dict[str, Any] = {
            "task": self.task,
            "seed": self.seed,
            "frames": self.dream_frames if dream else self.own_frames,
            "world": self.world,
            "image_size": c.image_size,
            "action_repeat": c.action_repeat,
            "camera_id": c.camera_id,
            "render_quality": c.render_quality,
            "eval_episodes": 0,
            "eval_dreams": 64 if dream else 0,
            "threads": 1,
            "out": out,
        }
        return Sb3Config(**{**chosen, **_SB3[self.arm], **self.sb3})

    @property
    def command(self) -> str:
        """What to type to run it again, its world model's training included."""
        words = ["aime-agent", "bench", "plug-in", "--task", self.task, "--arms", self.arm]
        for name in ("frames", "episodes", "preset", "render_quality", "dream_frames"):
            words += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        words += ["--seeds", str(self.seed)]
        for option, tree in (("--set", self.settings), ("--set-sb3", self.sb3)):
            words += [w for pair in _pairs(tree) for w in (option, pair)]
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class WorldSpec(CurveSpec):
    """Training of a world model that arms share: a learning curve of one point."""

    @property
    def name(self) -> str:
        """Folder of the job."""
        return f"world-{self.task.replace('/', '-')}-f{self.frames}-s{self.seed}"


def _pairs(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested settings as ``KEY=VALUE`` words.

    >>> list(_pairs({"batch_size": 2, "agent": {"horizon": 3}}))
    ['batch_size=2', 'agent.horizon=3']
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}"
