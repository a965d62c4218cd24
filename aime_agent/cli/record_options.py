"""What can be typed after ``aime-agent record`` and ``aime-agent record-all``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

LAYOUTS = ("dream", "overlay", "futures", "compare")
PLANNERS = ("mppi", "cem")


@dataclass(frozen=True, kw_only=True)
class RecordArgs:
    """Film a run or any policy, and what the run's world model sees, dreams and attends to."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run folder or checkpoint."""
    layout: Annotated[str, arg(metavar="{" + ",".join(LAYOUTS) + "}")] = "dream"
    """dream: real, reconstruction, dream, attention, slots. overlay: attention and slots over the
    frames. futures: dreamt futures of one start beside what happened. compare: two policies."""
    policy: Annotated[str | None, arg(metavar="random|zero|RUN|FILE.zip")] = None
    """Who plays; None for the run's agent."""
    planner: Annotated[str | None, arg(metavar="{" + ",".join(PLANNERS) + "}")] = None
    """Let a planner in the run's world model play."""
    other: Annotated[str | None, arg(metavar="random|zero|RUN|FILE.zip")] = None
    """The second policy of compare; None for random actions."""
    inside_dream: bool = False
    """With overlay: from the mark on the model dreams the frames too, without a simulator."""
    out: Annotated[str | None, arg(metavar="FILE.mp4|FILE.gif")] = None
    """The film; None for RUN/videos/LAYOUT-sSEED.mp4 (episode-sSEED.mp4 for dream)."""
    episodes: int = 1
    """Episodes, one after the other."""
    steps: int = 200
    """Actions shown per episode, at least 3; at most 200 with dream."""
    first_step: int = 0
    """Action of the episode at which the film starts."""
    mark: int | None = None
    """Step of the film from which dreams see no frame; None for a quarter in."""
    samples: int = 5
    """Futures of the layout futures, 1 to 5."""
    temperature: float = 1.0
    """Of dreams in futures and --inside-dream; 0 takes the likeliest."""
    scale: int = 5
    """Panel pixels per image pixel, 1 to 16."""
    seed: int = 0
    """Chooses the episodes."""
    sheet: Annotated[str | None, arg(metavar="FILE.png")] = None
    """Also save a contact sheet of the first episode (other layouts than dream: one frame)."""
    trust_pickle: bool = False
    """Open a Stable-Baselines3 file, which holds cloudpickle and can run any code."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda or cuda:N."""


@dataclass(frozen=True, kw_only=True)
class RecordAllArgs:
    """Film several runs in all layouts, with a picture of each; trains what is missing if asked."""

    runs: Annotated[tuple[str, ...], Positional, arg(metavar="RUNS...")] = ()
    """Run folders or checkpoints."""
    tasks: Annotated[str | None, arg(metavar="TASK,...")] = None
    """Suite tasks, comma-separated, to train small worlds of first; needs --train-frames."""
    train_frames: int = 0
    """Physics control steps to train each of --tasks with."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any setting of that training, e.g. --set preset=tiny."""
    layouts: str = ",".join(LAYOUTS)
    """Layouts, comma-separated."""
    out: Annotated[str, arg(metavar="DIR")] = "videos"
    """Folder for TASK-LAYOUT.mp4 and .png, and for the trained runs."""
    gif: bool = False
    """Write GIFs instead of mp4."""
    steps: int = 200
    """Actions shown per film."""
    scale: int = 5
    """Panel pixels per image pixel, 1 to 16."""
    seed: int = 0
    """Chooses the episodes."""
    device: str = "cpu"
    """Where the models run: cpu, cuda or cuda:N."""
