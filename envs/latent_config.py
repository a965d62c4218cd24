"""Settings of the learned world."""

from dataclasses import dataclass
from typing import Any

from aime_agent.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """How the learned world is dreamt.

    Raises:
        ConfigError: a value is out of range; the message names it.
    """

    horizon: int = 15
    """Steps until an episode is truncated; dreams of a young model hold for a few."""
    start: Any = None
    """Where dreams begin: None for the replay of the checkpoint's run, a dataset's or a run's folder,
    ``"live"`` for the run's own environment, an environment with pixels, or frames ``[T, H, W, C]``."""
    temperature: float = 1.0
    """Of the mixture prior; 0 follows the mean of the heaviest component."""
    observation: str = "belief"
    """``belief``, ``slots`` or ``objects``, see `aime_agent.envs.belief_spaces`."""
    reward: str = "mean"
    """Expected reward, or a draw from the reward head's distribution."""
    terminate: bool = True
    """Whether an episode ends where the continuation head says so (below 1/2)."""
    overlay: bool = False
    """Whether rendered frames show where the model looks."""
    num_starts: int = 256
    """Beliefs in the bank that starts are drawn from."""
    context: int = 5
    """Frames that a start is filtered from."""
    start_seed: int = 0
    """Chooses the bank's windows."""
    device: str = "cpu"
    """Where the model computes."""

    def __post_init__(self) -> None:
        for name in ("horizon", "num_starts", "context"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)!r}")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be at least 0, found {self.temperature}")
        if self.reward not in ("mean", "sample"):
            raise ConfigError(f"reward must be 'mean' or 'sample', found {self.reward!r}")
