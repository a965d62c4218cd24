"""``aime-agent record`` and ``aime-agent record-all``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aime_agent.cli.checks import check_device, check_task
from aime_agent.cli.record_options import LAYOUTS, PLANNERS, RecordAllArgs, RecordArgs
from aime_agent.cli.runs import load, run_home
from aime_agent.cli.words import settings
from aime_agent.errors import ConfigError, nearest


def record(args: RecordArgs | RecordAllArgs) -> int:
    """Films one run, or several in all layouts."""
    return record_one(args) if isinstance(args, RecordArgs) else record_all(args)


def record_one(args: RecordArgs) -> int:
    """Films whoever plays and, if asked, saves a contact sheet."""
    home = run_home(args.run)
    name = "episode" if args.layout == "dream" else args.layout
    out = Path(args.out or home / "videos" / f"{name}-s{args.seed}.mp4")
    from aime_agent.training import video

    config = video.RecordConfig(
        layout=args.layout,
        episodes=args.episodes,
        steps=args.steps,
        mark=args.mark,
        scale=args.scale,
        seed=args.seed,
        first_step=args.first_step,
        samples=args.samples,
        temperature=args.temperature,
        inside_dream=args.inside_dream,
    )
    sheet = None if args.sheet is None else Path(args.sheet)
    video.check_files(out, sheet)
    if args.other is not None and args.layout != "compare":
        raise ConfigError(f"--other needs --layout compare, found {args.layout!r}")
    agent = load(args.run, args.device, sb3=True)
    policy, other = _player(args, agent), None
    if args.other is not None:
        other = _seat(args.other, args, agent)
    video.record(agent, out, config, sheet=sheet, policy=policy, other=other, progress=True)
    print(f"written to {out}" + ("" if sheet is None else f" and {sheet}"))
    return 0


def record_all(args: RecordAllArgs) -> int:
    """Films every run in every layout; the second policy of ``compare`` is random actions."""
    layouts = _listed(args.layouts)
    for layout in layouts:
        if layout not in LAYOUTS:
            raise ConfigError(f"--layouts: unknown {layout!r}. {nearest(layout, LAYOUTS)}")
    for run in args.runs:
        run_home(run)
    check_device(args.device)
    runs = [*args.runs, *_train(args)]
    if not runs:
        raise ConfigError(
            "record-all needs RUN folders, or --tasks with --train-frames; found none"
        )
    from aime_agent.training import video

    ending = "gif" if args.gif else "mp4"
    common: dict[str, Any] = {"steps": args.steps, "scale": args.scale, "seed": args.seed}
    for run in runs:
        agent = load(run, args.device)
        for layout in layouts:
            film = Path(args.out) / f"{agent.config.task}-{layout}.{ending}".replace("/", "-")
            sheet = film.with_suffix(".png")
            video.record(agent, film, sheet=sheet, layout=layout, progress=True, **common)
            print(f"written to {film} and {sheet}", flush=True)
    return 0


def _train(args: RecordAllArgs) -> list[str]:
    """Trains the missing worlds, or goes on with those begun; returns their folders."""
    tasks = [] if args.tasks is None else _listed(args.tasks)
    if bool(tasks) != (args.train_frames > 0):
        raise ConfigError(
            "--tasks and --train-frames belong together: which worlds to train, and for how long; "
            f"found --tasks {args.tasks} and --train-frames {args.train_frames}"
        )
    for task in tasks:
        check_task(task)
    chosen: dict[str, Any] = {"preset": "small", "render_quality": "fast", "eval_episodes": 0}
    chosen |= {"frames": args.train_frames, "device": args.device, **settings(args.set)}
    runs = []
    for task in tasks:
        from aime_agent.training.train import train

        run = Path(args.out) / "runs" / task.replace("/", "-")
        print(f"training a world of {task} in {run}", flush=True)
        train(task, resume=(run / "config.json").exists(), out=str(run), **chosen)
        runs.append(str(run))
    return runs


def _player(args: RecordArgs, agent: Any) -> Any:
    """Returns who plays in ``record``; None for the agent."""
    if args.planner is not None and args.policy is not None:
        raise ConfigError("--planner and --policy exclude each other, found both")
    if args.planner is None:
        return None if args.policy is None else _seat(args.policy, args, agent)
    if args.planner not in PLANNERS:
        raise ConfigError(f"--planner: unknown {args.planner!r}. {nearest(args.planner, PLANNERS)}")
    from aime_agent.training.scenes import seat

    if not hasattr(agent, "planner"):
        raise ConfigError(f"--planner: a run of our own agent required, found {args.run}")
    planner = agent.planner(seed=args.seed, method=args.planner)
    return seat(agent, planner, args.seed, f"planner {args.planner}")


def _seat(policy: str, args: RecordArgs, agent: Any) -> Any:
    """Returns who plays by this name, a run in its own environment."""
    from aime_agent.training.players import load_policy
    from aime_agent.training.scenes import seat

    loaded = load_policy(policy, trust_pickle=args.trust_pickle, device=args.device)
    label = None if policy in ("random", "zero") else Path(policy).stem
    return seat(agent, loaded, args.seed, label)


def _listed(text: str) -> Sequence[str]:
    """Returns the parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]
