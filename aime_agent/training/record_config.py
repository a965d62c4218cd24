"""Settings of films."""

from dataclasses import dataclass
from typing import Literal, get_args

from aime_agent.errors import ConfigError, nearest

Layout = Literal["dream", "overlay", "futures", "compare"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
MOST_STEPS, MOST_FUTURES = 200, 5


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What a film shows; steps are agent steps."""

    layout: str = "dream"
    """``dream``, ``overlay``, ``futures`` or ``compare``."""
    episodes: int = 1
    """How many episodes, one after the other."""
    steps: int = MOST_STEPS
    """Steps shown per episode, at least 3; at most 200 with ``dream``, which keeps them in memory."""
    mark: int | None = None
    """Step of the film from which a dream runs alone; None is a quarter in."""
    scale: int = 5
    """Panel pixels per image pixel."""
    seed: int = 0
    """Chooses the episodes, and what is drawn in dreams."""
    first_step: int = 0
    """Step of the episode at which the film starts."""
    samples: int = MOST_FUTURES
    """Futures in the layout ``futures``, 1 to 5."""
    temperature: float = 1.0
    """Of the futures, and of ``inside_dream``; 0 takes the likeliest component's mean."""
    inside_dream: bool = False
    """With ``overlay``: from the mark on the model dreams the frames too, without a simulator."""

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            hint = nearest(self.layout, LAYOUTS)
            raise ConfigError(f"RecordConfig.layout: unknown {self.layout!r}. {hint}")
        _require("episodes", self.episodes, 1, None)
        _require("steps", self.steps, 3, MOST_STEPS if self.layout == "dream" else None)
        _require("scale", self.scale, 1, 16)
        _require("seed", self.seed, 0, None)
        _require("first_step", self.first_step, 0, None)
        _require("samples", self.samples, 1, MOST_FUTURES)
        if self.mark is not None:
            _require("mark", self.mark, 1, self.steps - 1)
        if not 0 <= self.temperature <= 10:
            raise ConfigError(
                f"RecordConfig.temperature must be in 0..10, found {self.temperature}"
            )
        if self.inside_dream and self.layout != "overlay":
            raise ConfigError(
                f"RecordConfig.inside_dream needs layout 'overlay', found {self.layout!r}"
            )

    def begins(self, length: int) -> int:
        """Returns the mark in a film of ``length`` steps."""
        return max(2, length // 4) if self.mark is None else self.mark


def _require(name: str, value: int, low: int, high: int | None) -> None:
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ConfigError(f"RecordConfig.{name} must be {wanted}, found {value}")
