"""What can be typed after ``aime-agent plan``."""

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

PLANNERS = ("mppi", "cem")


@dataclass(frozen=True, kw_only=True)
class PlanArgs:
    """Score a run that plans in its world model, beside its actor alone and random actions."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run folder or checkpoint."""
    planner: Annotated[str, arg(metavar="{" + ",".join(PLANNERS) + "}")] = "mppi"
    """mppi weighs the best sequences by their scores, cem equally."""
    episodes: int = 10
    """Episodes to play, the same for all."""
    seed: int = 0
    """Chooses the episodes, and decides the planner's noise."""
    samples: int = 128
    """Action sequences per iteration; 512 plans more carefully."""
    horizon: int = 5
    """Actions per sequence."""
    iterations: int = 4
    """Refinements per decision; 6 go with 512 samples."""
    actor_share: float = 0.1
    """Share of the sequences that the actor proposes."""
    no_value: bool = False
    """Leave out the critic's value of where a sequence ends."""
    penalty: float = 0.0
    """Reward taken off per unit of the world model's disagreement."""
    max_steps: int | None = None
    """Cut episodes after so many actions; None plays to the end."""
    alone: bool = False
    """Play the planner only, without the actor and random actions beside it."""
    out: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Where to write the planner's scores; None for RUN/evaluations/PLANNER-sSEED.json."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda or cuda:N."""

    def settings(self) -> dict[str, Any]:
        """Fields of `PlannerConfig`."""
        return {
            "method": self.planner,
            "samples": self.samples,
            "horizon": self.horizon,
            "iterations": self.iterations,
            "actor_share": self.actor_share,
            "terminal_value": not self.no_value,
            "penalty": self.penalty,
        }
