"""``aime-agent bench objects``: slots, attention and blind baselines against the truth."""

from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.cli.bench_options import BenchObjectsArgs
from aime_agent.cli.checks import check_task
from aime_agent.cli.runs import load, run_home
from aime_agent.cli.words import settings
from aime_agent.errors import ConfigError

GRIDS = (16, 21, 32)
"""Resolutions of the best maps beside the baselines; a model adds its own."""
FIT_EPISODES, FIT_STEPS = 40, 100
"""What a world model is fitted to where there is no run."""


class _Subject(NamedTuple):
    """What is measured: a model, or None for the baselines alone."""

    model: Any
    facts: dict[str, Any]


def bench_objects(args: BenchObjectsArgs) -> int:
    """Scores baselines and, if there is one, a model's slots and attention; prints and writes."""
    from aime_agent.training import objects

    agent = _agent(args)
    task = args.task if agent is None else agent.config.task
    data = _played(args, agent)
    subject = _subject(args, agent)
    own = set() if subject.model is None else {subject.model.config.attention_resolution}
    table = objects.score_baselines(data, sorted({*GRIDS, *own}), args.seed)
    attention = {}
    if subject.model is not None:
        seen = objects.look(subject.model, data)
        table = objects.merge(objects.score_model(data, seen), table)
        attention = objects.score_attention(data, seen)
        if args.picture is not None:
            from aime_agent.training.object_pictures import object_sheet

            maps = seen.attention.double().numpy()
            object_sheet(data, seen.masks.numpy(), maps, Path(args.picture))
    facts = {"task": task, "run": args.run, "player": args.player, "seed": args.seed}
    out = _out(args, str(task))
    objects.save_report(out, objects.report(data, table, attention, **facts, **subject.facts))
    print(f"{task}, {args.episodes} episodes of {args.steps} frames, {args.player} actions\n")
    for line in (*objects.lines(table), *objects.attention_lines(attention)):
        print(line)
    print(f"\nwritten to {out}")
    return 0


def _agent(args: BenchObjectsArgs) -> Any:
    """Loads the run, if there is one; refuses words that would have no effect."""
    if (args.run is None) == (args.task is None):
        raise ConfigError("bench objects takes either RUN or --task")
    if args.updates < 0:
        raise ConfigError(f"--updates must be at least 0, found {args.updates}")
    if args.run is None and args.player == "agent":
        raise ConfigError("bench objects: --player agent needs a RUN")
    if args.run is None and not args.updates and (args.picture is not None or args.set):
        raise ConfigError("bench objects: --picture and --set need a model: a RUN or --updates")
    if args.run is not None and (args.updates or args.set):
        raise ConfigError("bench objects: --updates and --set are for --task, found a RUN")
    if args.task is not None:
        check_task(args.task)
        return None
    return load(str(args.run), args.device)


def _subject(args: BenchObjectsArgs, agent: Any) -> _Subject:
    """Returns the run's model, a fitted one, or none, with what it takes to repeat it."""
    from aime_agent.configs import config_hash

    if agent is not None:
        c = agent.config
        facts = {"render_quality": c.render_quality, "action_repeat": c.action_repeat}
        facts |= {"config_hash": config_hash(c), "train_seed": c.seed}
        return _Subject(agent.world_model, facts)
    facts = {"render_quality": "fast", "action_repeat": 2}
    if not args.updates:
        return _Subject(None, facts)
    from aime_agent.training.object_fit import ObjectFitConfig, fit_world_model

    config = ObjectFitConfig(
        updates=args.updates, preset=args.preset, settings=settings(args.set), seed=args.seed
    )
    found = fit_world_model(_played(args, None, fit=True), config)
    facts["fit"] = {
        "preset": args.preset,
        "settings": settings(args.set),
        "updates": args.updates,
        "episodes": FIT_EPISODES,
        "steps": FIT_STEPS,
        "batch": [config.batch_size, config.sequence_length],
        "cpu_seconds_per_update": round(found.cpu_seconds / args.updates, 4),
    }
    return _Subject(found.model, facts | {"config_hash": config_hash(found.model.config)})


def _played(args: BenchObjectsArgs, agent: Any, fit: bool = False) -> Any:
    """Returns the episodes to judge on, or those to fit to."""
    from aime_agent.envs.make import make_env
    from aime_agent.envs.segmentation import Segmented
    from aime_agent.training.evaluate import random_policy
    from aime_agent.training.segmented import collect_segmented

    if agent is None:
        base = make_env(str(args.task), render_quality="fast", image_size=args.image_size)
    else:
        base = agent.make_env()
    env = Segmented(base)
    try:
        if fit:
            policy = random_policy(env.action_space, args.seed + 1)
            return collect_segmented(
                env, policy, FIT_EPISODES, FIT_STEPS, args.seed, stream="objects-fit"
            )
        random = random_policy(env.action_space, args.seed)
        chosen = agent.predict if args.player == "agent" else random
        return collect_segmented(env, chosen, args.episodes, args.steps, args.seed)
    finally:
        env.close()


def _out(args: BenchObjectsArgs, task: str) -> Path:
    """Returns where the figures go."""
    home = Path("runs") if args.run is None else run_home(args.run)
    fit = f"-u{args.updates}" if args.updates else ""
    name = f"objects-{task}-{args.player}-s{args.seed}{fit}.json"
    return Path(args.out or home / "evaluations" / name)
