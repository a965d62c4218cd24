"""Films what a trained agent sees, reconstructs, dreams and attends to.

Usage: python scripts/record_video.py runs/humanoid videos/humanoid.mp4 --mark 20
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from aime_agent import AimeAgent
from aime_agent.training.video import record


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which run to film, and where to."""

    run: Positional[Path]
    """Run folder or checkpoint."""
    out: Positional[Path] = Path("videos/agent.mp4")
    """The film; a contact sheet is saved beside it as PNG."""
    mark: int | None = None
    """Step from which the dream goes on without looking."""
    steps: int = 200
    """Steps to show."""
    seed: int = 0
    """Chooses the episode."""


def main(args: Args) -> None:
    agent = AimeAgent.from_pretrained(args.run)
    sheet = args.out.with_suffix(".png")
    record(agent, args.out, sheet=sheet, mark=args.mark, steps=args.steps, seed=args.seed)
    print(args.out, sheet)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
