"""What a planned decision costs, on one processor thread, beside the actor alone.

    OMP_NUM_THREADS=1 python -m benchmarks.planner --out benchmarks/results/planner.json

A decision filters one 64-pixel frame and plans from it; weights are untrained, which changes nothing.
"""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from aime_agent.agents.aime import AimeAgent
from aime_agent.training.config import TrainConfig
from aime_agent.training.evaluate import versions
from aime_agent.training.runfolder import machine
from benchmarks import timing

PLANS = {
    "mppi 128 × 5 × 4": {"method": "mppi"},
    "cem 128 × 5 × 4": {"method": "cem"},
    "mppi 512 × 5 × 6": {"method": "mppi", "samples": 512, "iterations": 6},
}


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to measure."""

    preset: str = "small"
    """Size of the model."""
    action_dim: int = 6
    """Size of the action."""
    repeats: int = 7
    """Rounds, least of which counts."""
    out: Path | None = None
    """JSON file to write."""


def decisions(policy, frames):
    """Returns a function that decides once for every frame, in one batch."""
    state = None

    def work():
        nonlocal state
        starts = np.full(len(frames), state is None)
        _, state = policy.predict(frames, state, starts)

    return work


def measure(args):
    """Returns all figures."""
    config = TrainConfig(task="walker-walk", preset=args.preset)
    agent = AimeAgent.create(config, args.action_dim)
    size = config.image_size
    frames = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    works = {"actor alone": decisions(agent, frames[:1])}
    for name, settings in PLANS.items():
        works[name] = decisions(agent.planner(**settings), frames[:1])
    works["mppi 128 × 5 × 4, 8 environments"] = decisions(agent.planner(), frames)
    times = timing.alternate(works, args.repeats, {"actor alone": 10})
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "preset": args.preset,
        "action_dim": args.action_dim,
        "ms_per_decision": {k: 1000 * times[k].least / (8 if "8 env" in k else 1) for k in works},
        "times": {k: v._asdict() for k, v in times.items()},
        "versions": versions(),
        "machine": machine(),
    }


def main(args):
    """Measures, prints, writes."""
    torch.set_num_threads(1)
    found = measure(args)
    print("| | ms per decision |\n|---|---|")
    for name, ms in found["ms_per_decision"].items():
        print(f"| {name} | {ms:.1f} |")
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args))
