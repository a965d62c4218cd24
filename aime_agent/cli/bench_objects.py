"""``aime-agent bench objects``: slots and attention of a run, and baselines, against the truth."""

from pathlib import Path
from typing import Any

from aime_agent.cli.checks import check_task
from aime_agent.cli.options import BenchObjectsArgs
from aime_agent.cli.runs import load, run_home
from aime_agent.errors import ConfigError

GRIDS = (16, 21, 32)
"""Resolutions of the best maps beside the baselines; a run adds its own."""


def bench_objects(args: BenchObjectsArgs) -> int:
    """Scores baselines and, if there is one, a run's slots and attention; prints and writes."""
    from aime_agent.training import objects

    agent = _agent(args)
    home = Path("runs") if args.run is None else run_home(args.run)
    task = args.task if agent is None else agent.config.task
    name = f"objects-{task}-{args.player}-s{args.seed}.json"
    out = Path(args.out or home / "evaluations" / name)
    data = _played(args, agent)
    model = None if agent is None else agent.world_model
    own = set() if model is None else {model.config.attention_resolution}
    table = objects.score_baselines(data, sorted({*GRIDS, *own}), args.seed)
    attention = {}
    if model is not None:
        seen = objects.look(model, data)
        table = objects.merge(objects.score_model(data, seen), table)
        attention = objects.score_attention(data, seen)
        if args.picture is not None:
            from aime_agent.training.object_pictures import object_sheet

            object_sheet(
                data, seen.masks.numpy(), seen.attention.double().numpy(), Path(args.picture)
            )
    found = objects.report(data, table, attention, **_facts(args, agent, task))
    objects.save_report(out, found)
    print(f"{task}, {args.episodes} episodes of {args.steps} frames, {args.player} actions\n")
    for line in objects.lines(table):
        print(line)
    for line in objects.attention_lines(attention):
        print(line)
    print(f"\nwritten to {out}")
    return 0


def _agent(args: BenchObjectsArgs) -> Any:
    """Loads the run, if there is one; refuses words that would have no effect."""
    if (args.run is None) == (args.task is None):
        raise ConfigError("bench objects takes either RUN or --task (the baselines alone)")
    if args.run is None and (args.player == "agent" or args.picture is not None):
        raise ConfigError("bench objects: --player agent and --picture need a RUN")
    if args.task is not None:
        check_task(args.task)
        return None
    return load(str(args.run), args.device)


def _played(args: BenchObjectsArgs, agent: Any) -> Any:
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
        random = random_policy(env.action_space, args.seed)
        policy = agent.predict if args.player == "agent" else random
        return collect_segmented(env, policy, args.episodes, args.steps, args.seed)
    finally:
        env.close()


def _facts(args: BenchObjectsArgs, agent: Any, task: Any) -> dict[str, Any]:
    facts = {"task": task, "run": args.run, "player": args.player, "seed": args.seed}
    if agent is None:
        return facts | {"render_quality": "fast", "action_repeat": 2}
    from aime_agent.configs import config_hash

    c = agent.config
    facts |= {"render_quality": c.render_quality, "action_repeat": c.action_repeat}
    return facts | {"config_hash": config_hash(c), "train_seed": c.seed}
