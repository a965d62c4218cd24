"""What can be typed after ``aime-agent``: one frozen dataclass per verb, its docs are the help.

Nothing heavy is imported here: ``--help`` must answer at once. A refusal is one line that names
the nearest valid name; `read` raises it as `ConfigError`.
"""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from aime_agent.cli.bench import BenchArgs
from aime_agent.cli.bench_adaptation import BenchAdaptationArgs
from aime_agent.cli.bench_dmc100k import BenchCurvesArgs
from aime_agent.cli.bench_options import BenchObjectsArgs
from aime_agent.cli.bench_plug_in import BenchPlugInArgs
from aime_agent.cli.choices import ALGORITHMS, FEATURES, PLAYERS, POLICIES, PRESETS, QUALITIES
from aime_agent.cli.discover import SEARCHERS, DiscoverArgs
from aime_agent.cli.meta import MetaAdaptArgs, MetaTrainArgs
from aime_agent.cli.plan_options import PLANNERS, PlanArgs
from aime_agent.cli.record_options import LAYOUTS, RecordAllArgs, RecordArgs
from aime_agent.cli.words import one_line
from aime_agent.errors import ConfigError, nearest

_Task = Positional[Annotated[str, arg(metavar="TASK")]]
_Run = Positional[Annotated[str, arg(metavar="RUN")]]


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train an agent on a task, or a world model on a dataset; Ctrl-C saves, --resume goes on."""

    task: _Task
    """walker-walk, cartpole-balance, ... or any Gymnasium id with pixels; a dataset's folder with
    --world-model-only."""
    preset: Annotated[str, arg(metavar="{" + ",".join(PRESETS) + "}")] = "small"
    """Size of the model."""
    frames: int = 100_000
    """Physics control steps to collect in all; an action takes --action-repeat of them."""
    seed: int = 0
    """Decides everything random."""
    out: Annotated[str | None, arg(metavar="DIR")] = None
    """Run folder; None for runs/TASK-PRESET-sSEED."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""
    render_quality: Annotated[str, arg(metavar="{" + ",".join(QUALITIES) + "}")] = "standard"
    """What frames are rendered with: fast looks the same and takes a quarter of the time."""
    device: str = "cpu"
    """Where the model learns: cpu, cuda or cuda:N."""
    image_size: int = 64
    """Side of the frames in pixels, at least 32."""
    action_repeat: int = 2
    """Control steps per action."""
    num_envs: int = 1
    """Environments stepped side by side, one process each."""
    world_model_only: bool = False
    """Learn the world model from a stored dataset (or a run's replay), without an environment."""
    updates: int = 10_000
    """Gradient updates with --world-model-only."""
    held_out: float = 0.2
    """Share of the dataset's episodes to measure the losses on instead of training."""
    algo: Annotated[str, arg(metavar="{" + ",".join(ALGORITHMS) + "}")] = "aime"
    """Who learns: the agent, or Stable-Baselines3 on what a world model believes."""
    world: Annotated[str | None, arg(metavar="RUN")] = None
    """World model for --algo sb3-*."""
    inside_dream: bool = False
    """Train --algo sb3-* in the world model, then measure it in the real task."""
    features: Annotated[str, arg(metavar="{" + ",".join(FEATURES) + "}")] = "belief"
    """What --algo sb3-* sees; pixels are stacked frames and need no --world."""
    threads: int = 0
    """CPU threads of torch; 0 leaves its default."""
    checkpoint_every: int = 1000
    """Frames between two checkpoints; updates with --world-model-only; 10,000 if not given with sb3-*."""
    eval_every_frames: int = 0
    """Frames between two evaluations; 0 for one at the end."""
    eval_episodes: int = 5
    """Episodes per evaluation; 0 for none."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting, e.g. --set batch_size=16 --set world_model.latent_dim=24."""


@dataclass(frozen=True, kw_only=True)
class EvalArgs:
    """Score a run: mean return of whole episodes with a 95 % interval, as JSON."""

    run: _Run
    """Run folder or checkpoint."""
    episodes: int = 10
    """Episodes to play."""
    seed: int = 0
    """Chooses the episodes."""
    policy: Annotated[str, arg(metavar="{" + ",".join(POLICIES) + "}")] = "agent"
    """Who plays: the agent, or a baseline in the same environment."""
    max_steps: int | None = None
    """Cut episodes after so many actions; None plays to the end."""
    out: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Where to write the scores; None for RUN/evaluations/POLICY-sSEED.json."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda or cuda:N."""


@dataclass(frozen=True, kw_only=True)
class CollectArgs:
    """Collect whole episodes of a policy as a dataset; Ctrl-C leaves a valid one, --resume goes on."""

    task: _Task
    """walker-walk, cartpole-balance, ... or any Gymnasium id with pixels."""
    policy: Annotated[str, arg(metavar="random|zero|RUN|FILE.zip")] = "random"
    """Who plays: random or zero actions, a trained run, or a Stable-Baselines3 model."""
    episodes: int = 0
    """Episodes to collect in all; or give --frames."""
    frames: int = 0
    """Physics control steps to collect in all, rounded up to whole episodes."""
    out: Annotated[str | None, arg(metavar="DIR")] = None
    """Folder of the dataset; None for data/TASK-POLICY-sSEED."""
    resume: bool = False
    """Go on with the dataset in the folder, perhaps to more episodes."""
    seed: int = 0
    """Decides everything random."""
    image_size: int = 64
    """Side of the frames in pixels; of a RUN's environment if not given."""
    action_repeat: int = 2
    """Control steps per action; of a RUN's environment if not given."""
    camera_id: Annotated[str, arg(metavar="CAMERA")] = "0"
    """Camera by number or name; of a RUN's environment if not given."""
    render_quality: Annotated[str, arg(metavar="{" + ",".join(QUALITIES) + "}")] = "standard"
    """What frames are rendered with; of a RUN's environment if not given."""
    num_envs: int = 1
    """Environments side by side, one process each."""
    hold: int = 1
    """Actions for which a random action is held."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise added to the policy's actions."""
    sample: bool = False
    """Draw the policy's actions instead of taking the likeliest."""
    trust_pickle: bool = False
    """Open a Stable-Baselines3 file, which holds cloudpickle and can run any code."""
    device: str = "cpu"
    """Where the policy computes: cpu, cuda or cuda:N."""
    minari: Annotated[str | None, arg(metavar="ID")] = None
    """Export the dataset to Minari as well, under this id (see export)."""


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Copy a dataset, or the replay of a run, to Minari without loss (needs the extra minari)."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Folder of a dataset or a run."""
    minari: Annotated[str, arg(metavar="ID")]
    """Name of the Minari dataset, such as walker/random-v0."""


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Copy a Minari dataset of pixels into a dataset to train on (needs the extra minari)."""

    id: Positional[Annotated[str, arg(metavar="ID")]]
    """Name of the Minari dataset."""
    out: Annotated[str, arg(metavar="DIR")]
    """Folder of the new dataset."""
    image_size: int | None = None
    """Side of the square that frames are scaled to; None leaves them."""
    download: bool = False
    """Fetch it from Minari's server if it is not on this machine."""


@dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """Explain this machine (OpenGL, versions, threads, device, render speed), or a run's pillars."""

    run: Annotated[str | None, Positional, arg(metavar="RUN")] = None
    """Run folder or checkpoint whose five pillars to examine; None for the machine."""


@dataclass(frozen=True, kw_only=True)
class QuickstartArgs:
    """Train an agent in minutes, compare it with random, zero and untrained, and film it."""

    task: _Task = "walker-stand"
    """A suite task; the default came furthest in the trials of docs/experiments.md."""
    frames: int = 48_000
    """Physics control steps to collect."""
    episodes: int = 10
    """Episodes per policy in the comparison."""
    seed: int = 0
    """Decides everything random."""
    out: Annotated[str, arg(metavar="DIR")] = "runs/quickstart"
    """Run folder."""
    video: Annotated[str, arg(metavar="FILE.mp4")] = "videos/quickstart.mp4"
    """The film; a contact sheet lands beside it as PNG."""
    cut_actor: bool = False
    """Cut the actor's gradient on purpose: shows that the result is learned."""


Args = (
    TrainArgs
    | EvalArgs
    | PlanArgs
    | RecordArgs
    | RecordAllArgs
    | CollectArgs
    | ExportArgs
    | ImportArgs
    | DoctorArgs
    | QuickstartArgs
    | BenchArgs
    | BenchCurvesArgs
    | BenchObjectsArgs
    | BenchPlugInArgs
    | BenchAdaptationArgs
    | DiscoverArgs
    | MetaTrainArgs
    | MetaAdaptArgs
)
VERBS: dict[str, type[Args]] = {
    "quickstart": QuickstartArgs,
    "train": TrainArgs,
    "eval": EvalArgs,
    "plan": PlanArgs,
    "record": RecordArgs,
    "record-all": RecordAllArgs,
    "collect": CollectArgs,
    "export": ExportArgs,
    "import": ImportArgs,
    "doctor": DoctorArgs,
    "bench world-model": BenchArgs,
    "bench objects": BenchObjectsArgs,
    "bench dmc100k": BenchCurvesArgs,
    "bench plug-in": BenchPlugInArgs,
    "bench adaptation": BenchAdaptationArgs,
    "meta train": MetaTrainArgs,
    "meta adapt": MetaAdaptArgs,
    "meta discover": DiscoverArgs,
}
_CHOICES = {"preset": PRESETS, "render_quality": QUALITIES, "policy": POLICIES, "player": PLAYERS}
_CHOICES |= {"algo": ALGORITHMS, "features": FEATURES}
_CHOICES |= {"planner": PLANNERS, "method": SEARCHERS, "layout": LAYOUTS}
_OPEN_CHOICES = {("policy", CollectArgs), ("policy", RecordArgs), ("preset", MetaTrainArgs)}
_OPEN_CHOICES |= {("preset", BenchAdaptationArgs)}
GROUPS = ("bench", "meta")
"""First words of verbs of two words."""


def read(argv: Sequence[str]) -> Args:
    """Parses the words after ``aime-agent``.

    Raises:
        ConfigError: something is unknown, missing or malformed; the message is one line.
        SystemExit: help was asked for and printed.
    """
    words = _verb_first(argv) or ["--help"]
    _check_names(words)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            args: Any = tyro.extras.subcommand_cli_from_dict(
                dict[str, Callable[..., object]](VERBS),
                prog="aime-agent",
                description="A world model you can look into. RUN is a run folder or a checkpoint. Also: --version.",
                args=words,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(f"{one_line(refusal.getvalue())} (see {_help_of(words)})") from None
    sys.stderr.write(refusal.getvalue())
    for name, known in _CHOICES.items():
        value = getattr(args, name, known[0])
        if value not in (None, *known) and (name, type(args)) not in _OPEN_CHOICES:
            raise ConfigError(
                f"--{name.replace('_', '-')}: unknown {value!r}. {nearest(value, known)}"
            )
    return args


def _verb_first(argv: Sequence[str]) -> list[str]:
    """Returns the words with a verb of two words as one; help on the first alone is help on all."""
    words = list(argv)
    if words[:1] and words[0] in GROUPS:
        if words[1:] in (["-h"], ["--help"]):
            return ["--help"]
        if words[1:] and not words[1].startswith("-"):
            return [f"{words[0]} {words[1]}", *words[2:]]
    return words


def _check_names(words: Sequence[str]) -> None:
    """Refuses an unknown verb or option before anything else is looked at."""
    verb = words[0]
    if verb.startswith("-"):
        if verb not in ("-h", "--help") and not verb.startswith("--tyro-"):
            known = ["--help", "--version"]
            raise ConfigError(f"unknown option {verb!r} before a verb. {nearest(verb, known)}")
        return
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb!r}. {nearest(verb, VERBS)}")
    hints = get_type_hints(VERBS[verb], include_extras=True)
    fields = (f.name for f in dataclasses.fields(VERBS[verb]) if not _positional(hints[f.name]))
    options = ["--help", *("--" + name.replace("_", "-") for name in fields)]
    for word in words[1:]:
        option = word.partition("=")[0].replace("_", "-")
        if word.startswith("--") and option not in options:
            hint = nearest(option, options)
            raise ConfigError(f"{verb}: unknown option {word.partition('=')[0]!r}. {hint}")


def _positional(hint: Any) -> bool:
    """Whether a field is typed without its name."""
    return Positional in getattr(hint, "__metadata__", ())


def _help_of(words: Sequence[str]) -> str:
    return " ".join(["aime-agent", *[w for w in words[:1] if w in VERBS], "--help"])
