"""Runs one arm of the comparison at equal real frames.

python -m aime_agent.training.bench.arm JOB/spec.json

trains in ``JOB/run`` what the arm trains, and writes ``JOB/result.json``: the returns of deterministic
episodes in the real task, and what they cost, that of the world model apart.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from torch import nn

from aime_agent.agents.aime import AimeAgent
from aime_agent.configs import from_dict
from aime_agent.envs.make import make_env
from aime_agent.training.bench.arm_spec import ArmSpec
from aime_agent.training.bench.curve import RUN, commits, note_commit, read_curve
from aime_agent.training.bench.files import RESULT, write
from aime_agent.training.evaluate import Predict, evaluate, random_policy
from aime_agent.training.runfolder import machine
from aime_agent.training.sb3 import sb3_versions, train_sb3
from aime_agent.training.sb3_player import Sb3Agent, environment_settings
from aime_agent.training.sb3_transfer import FILE
from aime_agent.training.spending import SPENT, spent
from aime_agent.world_model.frozen import freeze


class Player(NamedTuple):
    """Who plays after training."""

    predict: Predict
    parameters: int
    """Of who acts and who judges, without the world model."""
    dream: float | None = None
    """Mean return of dreams per 1,000 frames, where it was trained in them."""


def run(spec: ArmSpec, folder: Path) -> dict[str, Any]:
    """Trains, plays, and returns and writes the result."""
    note_commit(folder)
    before = _earlier(folder / RUN)
    env = make_env(spec.task, **environment_settings(spec.world_config))
    try:
        player = make_player(spec, folder / RUN, env)
        trained = spent(before)
        found = evaluate(player.predict, env, spec.episodes, spec.seed)
    finally:
        env.close()
    after = spent(before)
    result = {
        "spec": asdict(spec),
        "arm": spec.arm,
        "task": spec.task,
        "seed": spec.seed,
        "real_frames": {"world": spec.world_frames, "own": spec.own_frames},
        "return": found.mean,
        "ci95": found.ci95 and list(found.ci95),
        "returns": list(found.returns),
        "lengths": list(found.lengths),
        "episode_seeds": list(found.seeds),
        "dream_per_1000_frames": player.dream,
        "render_quality": spec.render_quality,
        "action_repeat": spec.world_config.action_repeat,
        "parameters": player.parameters,
        "world": world_facts(spec),
        "training": trained,
        "evaluation": {name: after[name] - trained[name] for name in SPENT},
        "command": spec.command,
        "commits": commits(folder),
        "versions": sb3_versions(),
        "machine": machine(),
    }
    write(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def make_player(spec: ArmSpec, home: Path, env: gym.Env[Any, Any]) -> Player:
    """Trains what the arm trains, in a folder, and returns who plays."""
    match spec.arm:
        case "random":
            return Player(random_policy(env.action_space, spec.seed), 0)
        case "agent" | "mppi":
            agent = AimeAgent.from_pretrained(spec.world)
            acts = agent if spec.arm == "agent" else agent.planner(method="mppi", seed=spec.seed)
            return Player(acts.predict, _count(*agent.behaviour.modules.values()))
        case _:
            return _with_sb3(spec, home)


def world_facts(spec: ArmSpec) -> dict[str, Any] | None:
    """What the arm's world model is and what its run cost; None without one.

    A run that no benchmark has trained does not say what it cost.
    """
    if not spec.world:
        return None
    ref, curve = freeze(spec.world), read_curve(Path(spec.world) / "metrics.jsonl")
    cost = {name: curve[-1].get(name) if curve else None for name in SPENT}
    return {"hash": ref.digest, "parameters": _count(ref.model()), **cost}


def _with_sb3(spec: ArmSpec, home: Path) -> Player:
    """Trains with Stable-Baselines3, from where it was interrupted."""
    config = spec.sb3_config(str(home))
    if config is None:
        raise ValueError(f"arm {spec.arm!r}: training with Stable-Baselines3 required")
    if not (home / FILE).exists():
        train_sb3(**asdict(config), resume=(home / "config.json").exists())
    dream = json.loads((home / FILE).read_text())["dream"]
    agent = Sb3Agent.load(home)
    mean = None if dream is None else dream["mean"]
    return Player(agent.predict, _count(agent.player.policy), mean)


def _earlier(home: Path) -> dict[str, float]:
    """What interrupted processes had spent on the training in a folder."""
    file = home / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


if __name__ == "__main__":
    path = Path(sys.argv[1])
    run(from_dict(ArmSpec, json.loads(path.read_text())), path.parent)
