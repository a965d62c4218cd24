"""The quickstart: train on pixels, compare with three baselines, film the result.

Everything is decided by counters, so the same seed gives the same agent on the same machine. A
second call goes on with an interrupted run, or shows a finished one again without training.
"""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.cli.options import QuickstartArgs
from aime_agent.errors import ConfigError

SETTINGS: dict[str, Any] = {
    "preset": "small",
    "action_repeat": 4,
    "render_quality": "fast",
    "num_envs": 4,
    "prefill_frames": 6000,
    "pretrain_updates": 150,
    "train_every": 1,
    "updates_per_round": 1,
    "checkpoint_every": 4000,
    "eval_episodes": 0,
    "log_every": 25,
    "image_every": 250,
    "threads": 1,
    "world_model": {"max_components": 1},
    "agent": {
        "critic": "action",
        "horizon": 3,
        "behaviour_updates": 2,
        "return_lambda": 0.7,
        "discount_per_two_frames": 0.98,
        "actor_max_std": 0.5,
    },
}
"""Training settings of the quickstart, found by measurement (docs/experiments.md)."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    returns: tuple[float, ...]
    mean: float
    ci95: tuple[float, float] | None


def quickstart(args: QuickstartArgs) -> int:
    """Trains, compares, films; returns 0."""
    started = time.monotonic()
    out = Path(args.out)
    agent = _trained(args, out)
    from aime_agent.training import video

    rows = compare(agent, args.episodes, args.seed)
    film = Path(args.video)
    print(f"\nfilming one episode to {film} ...", flush=True)
    video.record(agent, film, sheet=film.with_suffix(".png"))
    minutes = (time.monotonic() - started) / 60
    _save(out / "quickstart.json", rows, agent, minutes)
    print(table(rows, agent.config.task, agent.config.render_quality))
    print(verdict(rows))
    print(
        f"\n{minutes:.1f} minutes. The run is in {out}, its curves in {out}/metrics.jsonl.\n"
        f"Watch {film}; ask `aime-agent doctor {out}` what each pillar contributes."
    )
    return 0


def compare(agent: Any, episodes: int, seed: int) -> list[Row]:
    """Plays the same episodes with random and zero actions, untrained, and trained."""
    from aime_agent.training import evaluate as scoring

    env, blind = agent.make_env(), agent.make_env(observation="state")
    contests = [
        ("random actions", scoring.random_policy(blind.action_space, seed), blind),
        ("zero actions", scoring.zero_policy(blind.action_space), blind),
        ("untrained agent", scoring.untrained(agent), env),
        ("trained agent", agent.predict, env),
    ]
    rows = []
    try:
        for name, policy, world in contests:
            print(f"evaluating {name} over {episodes} episodes ...", flush=True)
            result = scoring.evaluate(policy, world, episodes, seed)
            rows.append(Row(name, result.returns, result.mean, result.ci95))
    finally:
        env.close()
        blind.close()
    return rows


def table(rows: list[Row], task: str, quality: str) -> str:
    """Lays out the returns.

    >>> print(table([Row("zero actions", (1.0, 3.0), 2.0, (1.5, 2.5))], "cup", "fast"))
    <BLANKLINE>
    returns on cup, 2 episodes of 1,000 frames, render quality 'fast'
    <BLANKLINE>
                         mean   95 % interval    lowest  highest
    zero actions          2.0     1.5 to 2.5        1.0      3.0
    """
    head = f"returns on {task}, {len(rows[0].returns)} episodes of 1,000 frames, "
    lines = ["", head + f"render quality '{quality}'", ""]
    lines.append(f"{'':<18}{'mean':>7}   {'95 % interval':<14}{'lowest':>9}{'highest':>9}")
    for row in rows:
        low, high = row.ci95 or (row.mean, row.mean)
        span = f"{low:7.1f} to {high:.1f}"
        ends = f"{min(row.returns):9.1f}{max(row.returns):9.1f}"
        lines.append(f"{row.name:<18}{row.mean:7.1f} {span:<16}{ends}")
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Says how far the trained agent's interval lies above the best of the others."""
    best = max(rows[:-1], key=lambda row: row.mean)
    low = (rows[-1].ci95 or (rows[-1].mean, 0.0))[0]
    return (
        f"\nThe trained agent's interval begins at {low:.1f}: {low - best.mean:+.1f} against the "
        f"best of the others ({best.name}, {best.mean:.1f})."
    )


def _trained(args: QuickstartArgs, out: Path) -> Any:
    """Trains, goes on, or loads, whichever the run folder asks for."""
    from aime_agent.agents.aime import AimeAgent
    from aime_agent.training.checkpoint import latest, trainer_state
    from aime_agent.training.config import TrainConfig
    from aime_agent.training.runfolder import RunFolder
    from aime_agent.training.train import train

    config = out / "config.json"
    if not config.exists():
        print(f"training on {args.task} for {args.frames:,} frames ...", flush=True)
        agent = {**SETTINGS["agent"], "train_actor": not args.cut_actor}
        settings = {**SETTINGS, "agent": agent}
        return train(args.task, frames=args.frames, seed=args.seed, out=out, **settings)
    stored = RunFolder(out, TrainConfig).read_config()
    if stored.task != args.task or stored.seed != args.seed:
        raise ConfigError(
            f"--out {out} holds a run on {stored.task} with seed {stored.seed}; "
            "choose another folder or delete it"
        )
    if trainer_state(latest(out))["frames"] < args.frames:
        print(f"going on with the run in {out} ...", flush=True)
        return train(frames=args.frames, out=out, resume=True)
    print(f"{out} is trained already; delete it to train again")
    return AimeAgent.from_pretrained(out)


def _save(path: Path, rows: list[Row], agent: Any, minutes: float) -> None:
    """Writes the table with what it takes to repeat it."""
    from aime_agent.configs import config_hash
    from aime_agent.training.evaluate import versions

    c = agent.config
    report = {
        "task": c.task,
        "seed": c.seed,
        "render_quality": c.render_quality,
        "action_repeat": c.action_repeat,
        "config_hash": config_hash(c),
        "minutes": round(minutes, 2),
        "versions": versions(),
        "rows": [row._asdict() for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
