"""``train --algo sb3-...``: Stable-Baselines3 in a dream or on the real task."""

from collections.abc import Sequence
from pathlib import Path

from aime_agent.cli.checks import train_settings
from aime_agent.cli.options import TrainArgs
from aime_agent.errors import ConfigError


def train(args: TrainArgs, argv: Sequence[str]) -> int:
    """Trains, and prints the transfer gap; only settings that were typed are passed on.

    Raises:
        ConfigError: an option means nothing to Stable-Baselines3.
    """
    from aime_agent.training.sb3_config import Sb3Config

    chosen = train_settings(args, argv, Sb3Config)
    known = set(Sb3Config.__dataclass_fields__)
    if alien := sorted(set(chosen) - known):
        raise ConfigError(f"--{alien[0].replace('_', '-')} means nothing with --algo {args.algo}")
    from aime_agent.training.sb3 import train_sb3
    from aime_agent.training.sb3_transfer import PICTURE, lines

    result = train_sb3(args.task, resume=args.resume, **chosen)
    print("\n".join(lines(result)))
    out = Path(args.out or Path("runs") / Sb3Config(task=args.task, **chosen).run_name)
    picture = out / PICTURE
    print(f"written to {out}" + (f", picture {picture}" if picture.exists() else ""))
    return 0
