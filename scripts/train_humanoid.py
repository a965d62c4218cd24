"""Trains an agent on the humanoid, scores it and films it: the Python interface end to end.

Usage: python scripts/train_humanoid.py --frames 1_000_000 --preset base
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

import aime_agent
from aime_agent.training.evaluate import evaluate
from aime_agent.training.video import record


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to train and for how long."""

    task: str = "humanoid-walk"
    """Any task of the DeepMind Control Suite; humanoid has 21 actions."""
    preset: str = "small"
    """Size of the model: tiny, small, base or seed84."""
    frames: int = 500_000
    """Physics control steps; an action lasts two of them."""
    seed: int = 0
    """Decides everything random."""
    out: Path = Path("runs/humanoid")
    """Run folder; a run that is there already goes on."""
    episodes: int = 3
    """Episodes to score."""


def main(args: Args) -> None:
    agent = aime_agent.train(
        args.task,
        preset=args.preset,
        frames=args.frames,
        seed=args.seed,
        out=args.out,
        resume=args.out.exists(),
        render_quality="fast",
    )
    env = agent.make_env()
    result = evaluate(agent.predict, env, args.episodes, seed=args.seed)
    env.close()
    print(f"{args.task}: mean return {result.mean:.1f} over {args.episodes} episodes")
    print("film:", record(agent, args.out / "videos" / "final.mp4"))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
