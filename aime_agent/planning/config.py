"""Settings of a planner."""

from dataclasses import dataclass

from aime_agent.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How many futures are imagined, how far, and what makes one good.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    method: str = "mppi"
    """``mppi`` weighs the elites by their exponentiated scores, ``cem`` equally."""
    samples: int = 128
    """Action sequences per iteration, those of the actor included."""
    horizon: int = 5
    """Actions per sequence."""
    iterations: int = 4
    """How often proposals are refined before the first action is taken."""
    elite_share: float = 0.125
    """Share of the samples that form the next proposals."""
    temperature: float = 0.5
    """Of MPPI's weights, in units of the score; towards 0 the best sequence alone counts."""
    actor_share: float = 0.1
    """Share of the samples that the actor proposes."""
    start_std: float = 0.5
    """Standard deviation of the first iteration's proposals; actions lie in [-1, 1]."""
    min_std: float = 0.05
    """Floor of the proposals' standard deviation."""
    terminal_value: bool = True
    """Add the critic's value of the state that a sequence ends in."""
    penalty: float = 0.0
    """Reward taken off per unit of disagreement of the world model's heads."""
    dream_temperature: float = 0.0
    """Of the prior; 0 follows the likeliest path, else all sequences meet the same noise."""

    def __post_init__(self) -> None:
        for name in ("samples", "horizon", "iterations"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("method", self.method in ("mppi", "cem"), "'mppi' or 'cem'")
        self._require("elite_share", 0 < self.elite_share <= 1, "in (0, 1]")
        fewer = 0 <= self.actor_share < 1 and self.from_actor < self.samples
        self._require("actor_share", fewer, "at least 0, and leave one sample to the Gaussian")
        for name in ("temperature", "start_std"):
            self._require(name, getattr(self, name) > 0, "positive")
        self._require("min_std", 0 <= self.min_std <= self.start_std, "in [0, start_std]")
        for name in ("penalty", "dream_temperature"):
            self._require(name, getattr(self, name) >= 0, "at least 0")

    @property
    def elites(self) -> int:
        """Number of sequences that form the next proposals, at least 1."""
        return max(1, round(self.elite_share * self.samples))

    @property
    def from_actor(self) -> int:
        """Number of sequences that the actor proposes."""
        return round(self.actor_share * self.samples)

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"PlannerConfig.{name} must be {what}, found {getattr(self, name)!r}")
