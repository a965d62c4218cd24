"""What each verb does. Heavy packages are imported inside, once the words are known to be right."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aime_agent.cli import discover, meta
from aime_agent.cli.bench import BenchArgs, bench
from aime_agent.cli.bench_adaptation import BenchAdaptationArgs, bench_adaptation
from aime_agent.cli.bench_dmc100k import BenchCurvesArgs, bench_curves
from aime_agent.cli.bench_options import BenchObjectsArgs
from aime_agent.cli.bench_plug_in import BenchPlugInArgs, bench_plug_in
from aime_agent.cli.checks import check_no_dataset, check_task, train_settings
from aime_agent.cli.discover import DiscoverArgs
from aime_agent.cli.meta import MetaAdaptArgs, MetaTrainArgs
from aime_agent.cli.options import (
    Args,
    CollectArgs,
    DoctorArgs,
    EvalArgs,
    ExportArgs,
    ImportArgs,
    QuickstartArgs,
    TrainArgs,
)
from aime_agent.cli.plan import plan
from aime_agent.cli.plan_options import PlanArgs
from aime_agent.cli.record import record
from aime_agent.cli.record_options import RecordAllArgs, RecordArgs
from aime_agent.cli.runs import load, run_home
from aime_agent.cli.words import given
from aime_agent.errors import ConfigError

Row = tuple[str, Any, bool, str]


def run(args: Args, argv: Sequence[str]) -> int:
    """Runs a parsed command and returns its exit code."""
    match args:
        case TrainArgs() | QuickstartArgs():
            code = _learn(args, argv)
        case EvalArgs():
            code = evaluate(args)
        case PlanArgs():
            code = plan(args)
        case RecordArgs() | RecordAllArgs():
            code = record(args)
        case CollectArgs() | ExportArgs() | ImportArgs():
            from aime_agent.cli import datasets

            code = datasets.run(args, argv)
        case DoctorArgs():
            code = doctor(args)
        case MetaTrainArgs() | MetaAdaptArgs() | DiscoverArgs() | BenchAdaptationArgs():
            code = _meta(args)
        case _:
            code = _bench(args)
    return code


def _learn(args: TrainArgs | QuickstartArgs, argv: Sequence[str]) -> int:
    if isinstance(args, TrainArgs):
        return train(args, argv)
    from aime_agent.cli.quickstart import quickstart

    return quickstart(args)


def train(args: TrainArgs, argv: Sequence[str]) -> int:
    """Trains; only settings that were typed are passed on, so a resumed run keeps its own."""
    if args.world_model_only:
        from aime_agent.cli import datasets

        return datasets.train_world_model(args, argv)
    check_no_dataset(args.task)
    check_task(args.task)
    if args.algo != "aime":
        from aime_agent.cli import sb3

        return sb3.train(args, argv)
    if alien := sorted(given(argv) & {"world", "inside_dream", "features"}):
        raise ConfigError(f"--{alien[0].replace('_', '-')} needs --algo sb3-ppo or sb3-sac")
    if alien := sorted(given(argv) & {"updates", "held_out"}):
        raise ConfigError(f"--{alien[0].replace('_', '-')} needs --world-model-only")
    from aime_agent.training.config import TrainConfig

    chosen = train_settings(args, argv, TrainConfig)
    from aime_agent.training.train import train as start

    start(args.task, resume=args.resume, **chosen)
    return 0


def evaluate(args: EvalArgs) -> int:
    """Scores an agent or a baseline and writes the JSON file."""
    home = run_home(args.run)
    agent = load(args.run, args.device, sb3=args.policy != "untrained")
    from aime_agent.training import evaluate as scoring

    env = agent.make_env()
    try:
        policy = _policy(args, agent, env)
        result = scoring.evaluate(policy, env, args.episodes, args.seed, args.max_steps)
    finally:
        env.close()
    c = agent.config
    out = Path(args.out or home / "evaluations" / f"{args.policy}-s{args.seed}.json")
    facts = {"task": c.task, "run": args.run, "policy": args.policy, "seed": args.seed}
    facts |= {"max_steps": args.max_steps, "render_quality": c.render_quality}
    scoring.save_result(result, out, c.action_repeat, **facts)
    for k, (score, length) in enumerate(zip(result.returns, result.lengths, strict=True)):
        print(f"episode {k:<3} return {score:8.2f}   {length} actions")
    print(_summary(result, args, c))
    print(f"written to {out}")
    return 0


def doctor(args: DoctorArgs) -> int:
    """Prints what was found, with a cure for everything that is wrong; 1 if anything is."""
    rows: Iterable[Row]
    if args.run is None:
        from aime_agent.envs.diagnostics import environment_report

        rows = environment_report()
    else:
        run_home(args.run)
        from aime_agent.training.pillars import pillar_report

        rows = pillar_report(args.run)
    rows = list(rows)
    for line in report_lines(rows):
        print(line)
    return 0 if all(ok for _, _, ok, _ in rows) else 1


def report_lines(rows: Sequence[Row]) -> list[str]:
    """Lays out findings in columns; remedies stand below what they cure.

    >>> for line in report_lines([("GL", "egl", True, ""), ("mujoco", "4.0", False, "use 3.17")]):
    ...     print(line)
    ok    GL      egl
    FAIL  mujoco  4.0
                  -> use 3.17
    """
    width = max((len(name) for name, *_ in rows), default=0)
    lines = []
    for name, value, ok, remedy in rows:
        lines.append(f"{'ok' if ok else 'FAIL':<6}{name:<{width}}  {value}")
        if remedy and not ok:
            lines.append(f"{'':<{width + 8}}-> {remedy}")
    return lines


def resume_hint(argv: Sequence[str]) -> str:
    """Returns the command that goes on after Ctrl-C."""
    words = [w for w in argv if w != "--resume"]
    return shlex.join(["aime-agent", *words, "--resume"])


def _meta(args: MetaTrainArgs | MetaAdaptArgs | DiscoverArgs | BenchAdaptationArgs) -> int:
    match args:
        case BenchAdaptationArgs():
            return bench_adaptation(args)
        case MetaTrainArgs():
            return meta.train(args)
        case MetaAdaptArgs():
            return meta.adapt(args)
    return discover.run(args)


def _bench(
    args: BenchArgs | BenchObjectsArgs | BenchCurvesArgs | BenchPlugInArgs,
) -> int:
    match args:
        case BenchArgs():
            return bench(args)
        case BenchCurvesArgs():
            return bench_curves(args)
        case BenchPlugInArgs():
            return bench_plug_in(args)
    from aime_agent.cli.bench_objects import bench_objects

    return bench_objects(args)


def _policy(args: EvalArgs, agent: Any, env: Any) -> Any:
    from aime_agent.training import evaluate as scoring

    match args.policy:
        case "random":
            return scoring.random_policy(env.action_space, args.seed)
        case "zero":
            return scoring.zero_policy(env.action_space)
        case "untrained":
            return scoring.untrained(agent)
        case _:
            return agent.predict


def _summary(result: Any, args: EvalArgs, config: Any) -> str:
    """Returns the line people quote: score, interval, episodes, frames and render quality."""
    low_high = "" if result.ci95 is None else "  95% [{:.1f}, {:.1f}]".format(*result.ci95)
    frames = sum(result.lengths) * config.action_repeat
    return (
        f"{config.task}, {args.policy}: mean return {result.mean:.1f}{low_high}  "
        f"({len(result.returns)} episodes, {frames} frames, render quality {config.render_quality})"
    )
