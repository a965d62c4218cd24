"""Speed and size of one preset on one processor thread, against fixed targets.

    OMP_NUM_THREADS=1 python -m benchmarks.speed --out benchmarks/results/speed.json

See benchmarks/README.md for what is measured and how.
"""

import dataclasses
import datetime
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from aime_agent.configs import config_hash
from aime_agent.envs import gl
from aime_agent.errors import AimeError, RenderError
from aime_agent.training.runfolder import machine
from benchmarks import environment, parts, peer, timing, workloads

TARGETS = {
    "train_step_s": 0.30,
    "dream_s": 0.10,
    "act_ms": 4.0,
    "environment_overhead_percent": 5.0,
    "replay_sampling_percent": 2.0,
    "replay_disk_ratio": 1.02,
    "aten_calls": 26_000,
}
"""Largest value of each that counts as met."""


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to measure."""

    config: str | None = None
    """Run folder or checkpoint whose agent to measure; None measures a preset."""
    preset: str = "small"
    """Size of the model if there is no run."""
    action_dim: int = 6
    """Size of the action if there is no run."""
    repeats: int = 7
    """Rounds, at least 5."""
    task: str = "walker-walk"
    """Task of the environment's overhead."""
    render_quality: str = "standard"
    """Look of its pictures."""
    peer_dir: Path | None = None
    """Checkout of dreamerv3-torch to measure in the same rounds."""
    peer_size: str = "small"
    """Its size: default, small or tiny."""
    out: Path | None = None
    """JSON file to write."""


def main(args):
    if args.repeats < 5:
        raise ValueError(f"--repeats must be at least 5, found {args.repeats}")
    if args.peer_dir is not None:
        peer.check(args.peer_dir)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours = workloads.Ours(args.config, args.preset, args.action_dim)
    try:
        result = measure(args, ours)
    finally:
        ours.close()
    show(result)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {args.out}")


def measure(args, ours):
    """Runs everything and returns JSON values."""
    calls = workloads.aten_calls(ours.train_step)
    rival = rival_of(args, ours)
    timed = ours.timed() | (rival.timed() if rival else {})
    often = {"act": 20, "peer_act": 20, "sample": 20}
    times = timing.alternate(timed, args.repeats, often)
    pieces = timing.alternate(parts.Parts(ours).timed(), args.repeats)
    del pieces[timing.CALIBRATION]
    result = {
        "what": what(args, ours),
        "times": {name: t._asdict() for name, t in times.items()},
        "parts_ms": {name: 1000 * t.least for name, t in pieces.items()},
        "environment": environment_overhead(args),
        "replay": ours.memory,
        "aten_calls": calls,
        "profile": workloads.top_operations(ours.train_step),
        "parameters": parameters(ours.agent),
        "losses": losses(ours),
    }
    if rival:
        result["peer"] = {"size": args.peer_size, "parameters": rival.parameters()}
    result["targets"] = targets(result)
    return result


def rival_of(args, ours):
    """Returns the peer, if its folder is given."""
    if args.peer_dir is None:
        return None
    c = ours.settings
    width = ours.agent.config.world_model.action_dim
    return peer.Peer(args.peer_dir, args.peer_size, c.batch_size, c.sequence_length, width)


def environment_overhead(args):
    """Returns milliseconds per action with and without wrappers; None where nothing renders."""
    try:
        gl.require_pixels(args.task)
        wrapped, bare = environment.blocks(args.task, args.render_quality)
    except RenderError as error:
        return {"skipped": str(error)}
    times = timing.alternate({"wrapped": wrapped, "bare": bare}, args.repeats)
    per_action = {k: 1000 * times[k].least / environment.STEPS for k in ("wrapped", "bare")}
    return {
        "task": args.task,
        "render_quality": args.render_quality,
        "wrapped_ms": per_action["wrapped"],
        "bare_ms": per_action["bare"],
        "overhead_percent": 100 * (per_action["wrapped"] / per_action["bare"] - 1),
    }


def what(args, ours):
    """Returns what was measured, and on what."""
    agent, c = ours.agent, ours.settings
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "preset": agent.config.preset,
        "config_hash": config_hash(agent.config),
        "batch": [c.batch_size, c.sequence_length],
        "image_size": agent.config.image_size,
        "action_dim": agent.config.world_model.action_dim,
        "dream": [c.batch_size * c.sequence_length, workloads.DREAM_STEPS],
        "arguments": {k: str(v) for k, v in dataclasses.asdict(args).items() if v is not None},
        "machine": machine() | {"model": processor(), "cores": os.cpu_count()},
        "load": os.getloadavg(),
    }


def processor():
    """Returns the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def parameters(agent):
    """Returns the trainable parameters of every module, and their sum."""
    modules = dict(agent.world_model.named_children())
    modules |= {name: agent.behaviour.modules[name] for name in ("actor", "critic")}
    counts = {name: sum(p.numel() for p in m.parameters()) for name, m in modules.items()}
    world = sum(p.numel() for p in agent.world_model.parameters())
    return {**{k: v for k, v in counts.items() if v}, "world model": world}


def losses(ours):
    """Returns the terms that are learned from, their task's weights, and those switched off."""
    ours.agent.world_model.train()
    found = ours.agent.world_model.fit(ours.data).losses.terms
    weights = dataclasses.asdict(ours.agent.config.world_model.weights)
    return {
        "active": {name: weights[name] for name in found if weights[name]},
        "off": sorted(set(weights) - {name for name in found if weights[name]}),
    }


def targets(result):
    """Compares with `TARGETS`; what was not measured is not met."""
    times = result["times"]
    step = times["train_step"]["least"]
    measured = {
        "train_step_s": step,
        "dream_s": times["dream"]["least"],
        "act_ms": 1000 * times["act"]["least"],
        "environment_overhead_percent": result["environment"].get("overhead_percent"),
        "replay_sampling_percent": 100 * times["sample"]["least"] / step,
        "replay_disk_ratio": result["replay"]["disk_ratio"],
        "aten_calls": result["aten_calls"],
    }
    return {
        name: {
            "target": limit,
            "measured": measured[name],
            "met": measured[name] is not None and measured[name] <= limit,
        }
        for name, limit in TARGETS.items()
    }


def show(result):
    """Prints the tables of the README."""
    print("| | target | measured | met |\n|---|---|---|---|")
    for name, row in result["targets"].items():
        value = "not measured" if row["measured"] is None else f"{row['measured']:.4g}"
        print(f"| {name} | ≤ {row['target']:g} | {value} | {'yes' if row['met'] else 'no'} |")
    print("\n| | least s | median s | in calibration kernels |\n|---|---|---|---|")
    for name, t in result["times"].items():
        print(f"| {name} | {t['least']:.4f} | {t['median']:.4f} | {t['ratio']:.2f} |")
    print("\n| part of a train step | ms |\n|---|---|")
    for name, milliseconds in result["parts_ms"].items():
        print(f"| {name} | {milliseconds:.1f} |")


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (AimeError, ValueError) as error:
        sys.exit(f"benchmarks.speed: {error}")
