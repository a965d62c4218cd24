"""Trains an agent on the humanoid from pixels: on a CPU, on a GPU, or on several with torchrun.

Usage: python scripts/train_humanoid.py --preset base --frames 30_000_000
       torchrun --nproc-per-node 4 scripts/train_humanoid.py
What to expect, and what was measured: docs/humanoid.md
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

import aime_agent
from aime_agent import distributed
from aime_agent.training.evaluate import evaluate
from aime_agent.training.video import record

SEEDS_APART = 100_003
"""Processes have seeds of their own, far from those of other runs."""


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to train and for how long; sizes are those of all processes together."""

    task: str = "humanoid-walk"
    """Any task of the DeepMind Control Suite; humanoid has 21 actions."""
    preset: str = "base"
    """Size of the model: tiny, small, base or seed84."""
    frames: int = 30_000_000
    """Physics control steps; an action lasts two of them."""
    seed: int = 0
    """Decides everything random."""
    out: Path = Path("runs/humanoid")
    """Run folder; a run that is there already goes on."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where the model learns: cpu or cuda."""
    num_envs: int = 16
    """Environments that step and render side by side, one process each."""
    batch_size: int = 32
    """Windows per update."""
    sequence_length: int = 64
    """Frames per window."""
    prefill_frames: int = 20_000
    """Frames of random actions before anything is learned."""
    pretrain_updates: int = 100
    """Updates on those before the policy acts."""
    replay_gib: float = 100.0
    """Size of the replay on the disk; the oldest episodes go first."""
    checkpoint_every: int = 100_000
    """Frames between two checkpoints."""
    episodes: int = 10
    """Episodes to score in the end, one of them on film; 0 for none."""


def settings(args: Args, place: distributed.Place) -> dict[str, object]:
    """One process's part of the run."""
    on_gpu = args.device == "cuda"
    each = {
        "num_envs": args.num_envs,
        "batch_size": args.batch_size,
        "frames": args.frames,
        "prefill_frames": args.prefill_frames,
        "checkpoint_every": args.checkpoint_every,
    }
    for name, value in each.items():
        if value % place.ranks:
            raise SystemExit(f"--{name}: a multiple of {place.ranks} processes, found {value}")
    return {name: value // place.ranks for name, value in each.items()} | {
        "sequence_length": args.sequence_length,
        "pretrain_updates": args.pretrain_updates,
        "replay_bytes": int(args.replay_gib * 2**30 / place.ranks),
        "seed": args.seed + SEEDS_APART * place.rank,
        "device": f"cuda:{place.local}" if on_gpu else "cpu",
        "agent": {"precision": "bfloat16"} if on_gpu else {},
        "render_quality": "fast",
        "eval_episodes": 0,
    }


def main(args: Args) -> None:
    with distributed.start(args.device) as place:
        own = args.out / f"rank{place.rank}" if place.rank else args.out
        agent = aime_agent.train(
            args.task,
            preset=args.preset,
            out=own,
            resume=(own / "config.json").exists(),
            **settings(args, place),
        )
    if place.rank or not args.episodes:
        return
    env = agent.make_env()
    result = evaluate(agent.predict, env, args.episodes, seed=args.seed)
    env.close()
    print(f"{args.task}: mean return {result.mean:.1f} over {args.episodes} episodes")
    print("film:", record(agent, args.out / "videos" / "final.mp4"))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
