"""Warm-up and annealing as pure functions of the update step: nothing to save, nothing to drift.

    ramp(s) = start + (end − start) f(clip(s / n, 0, 1)),   f(x) = x  or  (1 − cos πx) / 2

The seed documents' values, where they give any: KL weight 0 → 1 over 10 of 100 epochs (one of
them: cosine, 0.5 → 1 over 25), adversarial warm-up linear over 25 of 100 epochs, discriminator
every 1 to 5 steps, learning-rate warm-up 1000 steps.
"""

import math
from dataclasses import dataclass
from typing import Literal

from aime_agent.errors import ConfigError

Shape = Literal["linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Lengths in updates; fractions are of ``total_steps``."""

    total_steps: int = 100_000
    """Updates in a whole run."""
    shape: Shape = "linear"
    """Form of the KL and temperature ramps."""
    kl_start: float = 0.0
    """KL weight at the first update."""
    kl_end: float = 1.0
    """KL weight after the warm-up."""
    kl_fraction: float = 0.1
    """Share of the run over which the KL weight rises."""
    tau_fraction: float = 0.1
    """Share of the run over which the mixture temperature falls from K/2 to 1."""
    adversarial_start: float = 0.0
    """Share of the run before the adversarial loss begins."""
    adversarial_fraction: float = 0.25
    """Share of the run over which it rises to its weight."""
    disc_every: int = 1
    """Updates between discriminator rounds (the seeds' ``n_critic``)."""
    disc_steps: int = 1
    """Discriminator updates per round."""
    lr_warmup_steps: int = 1000
    """Updates over which the learning rate rises to its value."""
    lr_decay: Literal["constant", "cosine"] = "constant"
    """What the learning rate does afterwards."""
    lr_end: float = 0.1
    """Share of the learning rate that a cosine decay ends with."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        for name in ("total_steps", "disc_every"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("kl_start", "kl_end", "disc_steps", "lr_warmup_steps"):
            _require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("kl_fraction", "tau_fraction", "adversarial_start"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("adversarial_fraction", "lr_end"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        _require(self, "shape", self.shape in ("linear", "cosine"), "'linear' or 'cosine'")
        known = ("constant", "cosine")
        _require(self, "lr_decay", self.lr_decay in known, "'constant' or 'cosine'")


def ramp(step: float, start: float, end: float, duration: float, shape: Shape = "linear") -> float:
    """Goes from ``start`` at step 0 to ``end`` at step ``duration`` and stays there.

    >>> ramp(5, 0.0, 1.0, 10), ramp(5, 0.0, 1.0, 20, "cosine")
    (0.5, 0.1464466094067262)
    """
    x = min(max(step / duration, 0.0), 1.0) if duration > 0 else 1.0
    x = (1 - math.cos(math.pi * x)) / 2 if shape == "cosine" else x
    return start + (end - start) * x


def kl_beta(step: int, config: ScheduleConfig | None = None) -> float:
    """Returns β, the weight of the KL terms."""
    c = config or ScheduleConfig()
    return ramp(step, c.kl_start, c.kl_end, c.kl_fraction * c.total_steps, c.shape)


def tau_schedule(step: int, num_components: int, config: ScheduleConfig | None = None) -> float:
    """Returns τ of the mixture bound, from K/2 (all components learn) to 1 (the true bound).

    >>> tau_schedule(0, 15), tau_schedule(10**6, 15), tau_schedule(0, 1)
    (7.5, 1.0, 1.0)
    """
    c = config or ScheduleConfig()
    start = max(num_components / 2, 1.0)
    return ramp(step, start, 1.0, c.tau_fraction * c.total_steps, c.shape)


def adversarial_warmup(step: int, config: ScheduleConfig | None = None) -> float:
    """Returns the factor on the adversarial task: 0 before its start, then linear up to 1."""
    c = config or ScheduleConfig()
    begin = c.adversarial_start * c.total_steps
    if step < begin:
        return 0.0
    return ramp(step - begin, 0.0, 1.0, c.adversarial_fraction * c.total_steps)


def discriminator_steps(step: int, config: ScheduleConfig | None = None) -> int:
    """Returns how many discriminator updates follow the generator update ``step``.

    >>> [discriminator_steps(s, ScheduleConfig(disc_every=2, disc_steps=3)) for s in range(4)]
    [3, 0, 3, 0]
    """
    c = config or ScheduleConfig()
    return c.disc_steps if step % c.disc_every == 0 else 0


def lr_factor(step: int, config: ScheduleConfig | None = None) -> float:
    """Returns the factor on the learning rate; the first update already moves.

    >>> lr_factor(0, ScheduleConfig(lr_warmup_steps=4)), lr_factor(3, ScheduleConfig(lr_warmup_steps=4))
    (0.25, 1.0)
    """
    c = config or ScheduleConfig()
    if step < c.lr_warmup_steps:
        return (step + 1) / c.lr_warmup_steps
    if c.lr_decay == "constant":
        return 1.0
    return ramp(
        step - c.lr_warmup_steps, 1.0, c.lr_end, c.total_steps - c.lr_warmup_steps, "cosine"
    )


def _require(config: ScheduleConfig, name: str, holds: bool, what: str) -> None:
    if not holds:
        found = getattr(config, name)
        raise ConfigError(f"ScheduleConfig.{name} must be {what}, found {found!r}")
