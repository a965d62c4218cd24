"""``aime-agent meta train`` and ``meta adapt``: a policy that learns to adapt, and what it is worth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from aime_agent.cli.words import settings
from aime_agent.errors import ConfigError

if TYPE_CHECKING:
    from aime_agent.meta.adaptation import AdaptationCurve

META_PRESETS = ("smoke", "cpu", "gpu", "seed")


@dataclass(frozen=True, kw_only=True)
class MetaTrainArgs:
    """Meta-train a policy on a family of tasks; Ctrl-C saves, --resume goes on."""

    family: Positional[Annotated[str, arg(metavar="FAMILY")]]
    """navigation2d, laws, nguyen, feynman, dmc, cheetah-vel, walker-body, ..."""
    preset: Annotated[str, arg(metavar="{" + ",".join(META_PRESETS) + "}")] = "cpu"
    """Size: smoke (seconds), cpu (minutes), gpu, or the seed's defaults."""
    iterations: int | None = None
    """Meta-updates in all; None for the preset's."""
    seed: int = 0
    """Decides everything random."""
    out: Annotated[str | None, arg(metavar="DIR")] = None
    """Run folder; None for runs/meta/FAMILY-PRESET-sSEED."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""
    device: str = "cpu"
    """Where the policy computes: cpu, cuda or cuda:N."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Any other setting of EnhancedMetaLearningConfig, e.g. --set fusion_type=gating."""


@dataclass(frozen=True, kw_only=True)
class MetaAdaptArgs:
    """Adapt a meta-trained policy to tasks that it was not trained on, and print what each step gains."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder of `meta train`, or one of its checkpoints."""
    tasks: int = 20
    """How many, drawn from the family's tasks to test with."""
    task: str | None = None
    """One task by name instead, such as kepler_orbit."""
    steps: int = 3
    """Inner steps."""
    episodes: int | None = None
    """Episodes before each inner step; None for those of the training."""
    adaptation_lr: float | None = None
    """Step size; None for that of the training."""
    scratch: bool = False
    """Also adapt an untrained policy, to compare."""
    seed: int = 0
    """Of tasks and episodes."""
    out: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Where to write the figures; None for RUN/adaptation-sSEED.json."""


def train(args: MetaTrainArgs) -> int:
    """Trains, and says where the run is."""
    from aime_agent.meta.named import family_by_name
    from aime_agent.meta.presets import meta_preset
    from aime_agent.meta.trainer import EnhancedMAMLTrainer

    home = Path(args.out or Path("runs", "meta", f"{args.family}-{args.preset}-s{args.seed}"))
    more: dict[str, Any] = settings(args.set)
    if args.iterations is not None:
        more["meta_iterations"] = args.iterations
    config = meta_preset(
        args.preset, args.family, log_dir=str(home), checkpoint_dir=str(home / "checkpoints"),
        seed=args.seed, device=args.device, **more,
    )  # fmt: skip
    started = (home / "checkpoints").exists()
    if started and not args.resume:
        raise ConfigError(f"{home} has a run already: add --resume, or choose another --out")
    family = family_by_name(args.family, "train", args.seed, config.max_episode_steps)
    trainer = EnhancedMAMLTrainer(config, task_distribution=family)
    if args.resume and started:
        print(f"going on from {trainer.load_checkpoint()}")
    numbers = trainer.train()
    if numbers:
        shown = ("meta/reward_before", "meta/episode_reward", "meta/gain")
        print("return before {:.3f}, after adaptation {:.3f}, gain {:+.3f}".format(
            *(numbers[key] for key in shown)))  # fmt: skip
    for name, law in trainer.discovered_laws.items():
        print(f"  found {name}: {law}")
    print(f"run folder {home} (iteration {trainer.iteration})")
    return 0 if trainer.iteration >= config.meta_iterations else 130


def adapt(args: MetaAdaptArgs) -> int:
    """Adapts, prints a table, and writes it."""
    from aime_agent.data.files import write_json
    from aime_agent.meta.adaptation import adaptation_curve
    from aime_agent.meta.restored import restore

    home = Path(args.run)
    found = restore(home, args.seed, args.steps, args.episodes, args.adaptation_lr)
    if args.task is None:
        tasks = found.family.sample_task_batch(args.tasks)
    else:
        tasks = [_named(found.family, args.task)]
    curves = {"meta-trained": adaptation_curve(found.policy, found.family, tasks, found.config)}
    if args.scratch:
        curves["untrained"] = adaptation_curve(found.untrained(), found.family, tasks, found.config)
    for line in lines(curves):
        print(line)
    facts = found.facts() | {"seed": args.seed, "tasks": list(curves["meta-trained"].tasks)}
    tables = {name: curve_table(curve) for name, curve in curves.items()}
    run = home.parent.parent if home.name.startswith("checkpoint_") else home
    out = Path(args.out or run / f"adaptation-s{args.seed}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, facts | {"curves": tables})
    print(f"written to {out}")
    return 0


def lines(curves: "dict[str, AdaptationCurve]") -> list[str]:
    """Returns a table: one row per policy, a column per number of inner steps."""
    steps = next(iter(curves.values())).returns.shape[1]
    shown = ["mean return after" + "".join(f"{f'{k} steps':>12}" for k in range(steps))]
    for name, curve in curves.items():
        shown.append(f"{name:<17}" + "".join(f"{value:>12.3f}" for value in curve.mean()))
        if curve.solved.any():
            share = curve.solved.mean(axis=0)
            shown.append(f"{'  laws that fit':<17}" + "".join(f"{value:>12.0%}" for value in share))
    return shown


def curve_table(curve: "AdaptationCurve") -> dict[str, Any]:
    """Returns a curve as JSON values."""
    return {
        "returns": curve.returns.tolist(),
        "best": curve.best.tolist(),
        "solved": curve.solved.tolist(),
        "env_steps": curve.env_steps,
    }


def _named(family: Any, name: str) -> Any:
    """Returns a task of a family by name."""
    from aime_agent.meta.families import PhysicsFamily

    if isinstance(family, PhysicsFamily):
        return family.distribution.get_task_by_name(name)
    known = {task.name: task for task in getattr(family, "tasks", ())}
    if name not in known:
        raise ConfigError(
            f"--task: the family {family.name} has no task {name!r}; "
            f"{'known: ' + ', '.join(known) if known else 'its tasks are drawn, leave --task out'}"
        )
    return known[name]
