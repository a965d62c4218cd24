"""What can be typed after ``aime-agent bench objects``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from aime_agent.cli.choices import PLAYERS, PRESETS


@dataclass(frozen=True, kw_only=True)
class BenchObjectsArgs:
    """Measure objects: slots and attention of a run or of a fit, and baselines, against the truth."""

    run: Annotated[str | None, Positional, arg(metavar="RUN")] = None
    """Run folder or checkpoint; None for the baselines on --task alone."""
    task: str | None = None
    """Suite task where no RUN says it."""
    updates: int = 0
    """Without a RUN, fit a world model to 40 other episodes with so many updates; 0 for baselines alone."""
    preset: Annotated[str, arg(metavar="{" + ",".join(PRESETS) + "}")] = "small"
    """Sizes of the fitted world model."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Setting of the fitted world model, such as attention_target=change or slots.map_power=3."""
    episodes: int = 20
    """Episodes to play."""
    steps: int = 50
    """Frames per episode, from its beginning, 2 or more."""
    player: Annotated[str, arg(metavar="{" + ",".join(PLAYERS) + "}")] = "random"
    """Who plays: uniform actions, or the run's agent."""
    seed: int = 0
    """Chooses the episodes, and draws for the baselines."""
    image_size: int = 64
    """Side of the frames in pixels where no RUN says it."""
    out: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Where to write the figures; None for RUN/evaluations/ or runs/evaluations/."""
    picture: Annotated[str | None, arg(metavar="FILE.png")] = None
    """Also save frames beside truth, slot masks and attention."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda or cuda:N."""
