"""Settings of training with Stable-Baselines3, in reality or in a dream."""

from dataclasses import dataclass, field
from typing import Any, get_args

from aime_agent.envs.belief_spaces import Observed
from aime_agent.errors import ConfigError, nearest

ALGORITHMS = ("sb3-ppo", "sb3-sac")
FEATURES = (*get_args(Observed), "pixels")


@dataclass(frozen=True, kw_only=True)
class Sb3Config:
    """All settings of a run of `aime_agent.training.sb3.train_sb3`.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    task: str
    """``walker-walk``, or any registered Gymnasium id with pixels."""
    algo: str = "sb3-ppo"
    """sb3-ppo or sb3-sac."""
    features: str = "belief"
    """belief, slots (Dict), objects (Dict with places), or pixels (stacked frames, SB3's own CNN)."""
    inside_dream: bool = False
    """Train in the world model instead of the task."""
    world: str = ""
    """Run, checkpoint or folder of the world model; empty with pixels."""
    frames: int = 100_000
    """Physics control steps to train on, dreamt or real (action repeat counts)."""
    num_envs: int = 0
    """Environments side by side; 0 for 64 dreams with PPO, 16 with SAC, and 1 in reality."""
    horizon: int = 100
    """Actions per dream; see docs/plug_in.md for what 15, 50 and 100 gave."""
    temperature: float = 1.0
    """Of the dream's mixture prior."""
    start: str = ""
    """Where dreams begin: a dataset's or a run's folder, or live; empty for the world's own replay."""
    num_starts: int = 1024
    """Beliefs that dreams begin with."""
    context: int = 16
    """Frames that such a belief is filtered from."""
    frame_stack: int = 3
    """Frames that a policy on pixels sees."""
    seed: int = 0
    """Decides everything random."""
    eval_episodes: int = 10
    """Real episodes in the measurement after training; 0 for none."""
    eval_dreams: int = 64
    """Dreams in the measurement after training; 0 for none."""
    checkpoint_every: int = 10_000
    """Frames between two states that --resume can go on from."""
    image_size: int = 64
    """Side of the frames in pixels."""
    action_repeat: int = 2
    """Control steps per action."""
    camera_id: int | str = 0
    """Camera by number or name."""
    render_quality: str = "standard"
    """What frames are rendered with."""
    device: str = "cpu"
    """Where policy and world model compute."""
    threads: int = 0
    """Threads of torch; 0 leaves its default."""
    out: str = ""
    """Run folder; empty for a name made of the above."""
    sb3: dict[str, Any] = field(default_factory=dict)
    """Keywords of SB3's algorithm, such as ``{"learning_rate": 1e-3}``."""

    def __post_init__(self) -> None:
        for name, known in (("algo", ALGORITHMS), ("features", FEATURES)):
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"{name} {value!r} is unknown. {nearest(value, known)}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, found {value!r}")
        if self.features == "pixels" and self.inside_dream:
            raise ConfigError(
                "features 'pixels' with inside_dream: a dream shows beliefs; use belief, slots or objects"
            )
        if (self.features == "pixels") == bool(self.world):
            raise ConfigError(
                f"world: a run with a world model required for features {self.features!r}"
                if not self.world
                else "world: features 'pixels' use none; leave it out, or use features 'belief'"
            )

    @property
    def steps(self) -> int:
        """Actions to train on."""
        return max(1, self.frames // self.action_repeat)

    @property
    def lanes(self) -> int:
        """Environments side by side."""
        if self.num_envs or not self.inside_dream:
            return self.num_envs or 1
        return 64 if self.algo == "sb3-ppo" else 16

    @property
    def run_name(self) -> str:
        """Default name of the run folder."""
        where = "-dream" if self.inside_dream else ""
        return f"{self.task.replace('/', '-')}-{self.algo}-{self.features}{where}-s{self.seed}"


_LEAST = {
    "frames": 1,
    "checkpoint_every": 1,
    "num_envs": 0,
    "horizon": 1,
    "num_starts": 1,
    "context": 1,
    "frame_stack": 1,
    "seed": 0,
    "eval_episodes": 0,
    "eval_dreams": 0,
    "image_size": 32,
    "action_repeat": 1,
    "threads": 0,
}
