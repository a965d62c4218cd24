"""Runs and checkpoints that a verb is given."""

from pathlib import Path
from typing import Any

from aime_agent.cli.checks import check_device
from aime_agent.errors import CheckpointError, nearest


def run_home(path: str) -> Path:
    """Returns the run folder of a run or a checkpoint.

    Raises:
        CheckpointError: there is nothing; the message names the nearest neighbours.
    """
    home = Path(path)
    if not home.is_dir():
        beside = home.parent
        names = [str(p) for p in beside.iterdir() if p.is_dir()] if beside.is_dir() else []
        hint = f" {nearest(str(home), names)}" if names else ""
        raise CheckpointError(f"{path}: no such run folder or checkpoint.{hint}")
    return home.parent.parent if home.parent.name == "checkpoints" else home


def load(path: str, device: str, sb3: bool = False) -> Any:
    """Returns the agent of a run folder or a checkpoint.

    Args:
        path: The run or the checkpoint.
        device: Where it computes.
        sb3: Whether a run of Stable-Baselines3 will do, which plays but has no actor-critic of ours.

    Raises:
        CheckpointError: it is such a run, and will not do.
    """
    check_device(device)
    from aime_agent.agents.aime import AimeAgent
    from aime_agent.training.sb3_player import Sb3Agent, is_sb3_run

    if not is_sb3_run(path):
        return AimeAgent.from_pretrained(path, device=device)
    if not sb3:
        raise CheckpointError(
            f"{path}: a run of the agent required, found one of Stable-Baselines3, which eval, record "
            "and collect take"
        )
    return Sb3Agent.load(path, device)
