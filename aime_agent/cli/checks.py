"""Requests that are refused before anything heavy begins."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aime_agent.cli.options import TrainArgs
from aime_agent.cli.words import given, settings
from aime_agent.errors import ConfigError, nearest


def check_task(task: str) -> None:
    """Refuses a control suite task that does not exist; Gymnasium ids are left to Gymnasium.

    Raises:
        ConfigError: the message names the nearest tasks.
    """
    from aime_agent.envs.suite import split_task

    if "/" not in task and "-v" not in task and ":" not in task:
        split_task(task)


def check_no_dataset(task: str) -> None:
    """Refuses a folder of stored episodes where a task is wanted.

    Raises:
        ConfigError: the message says how to train on it.
    """
    if (Path(task) / "manifest.json").exists():
        raise ConfigError(
            f"{task} is a stored dataset; --world-model-only trains a world model on it"
        )


def check_device(device: str) -> None:
    """Refuses a device that is no device or is not there."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"--device takes cpu, cuda or cuda:N, found {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: torch {torch.__version__} finds no CUDA device")


def train_settings(args: TrainArgs, argv: Sequence[str], kind: type[Any]) -> dict[str, Any]:
    """Returns the settings of training that were typed, as options and by --set.

    Args:
        args: The parsed command.
        argv: Its words.
        kind: The configuration that takes the settings.

    Raises:
        ConfigError: one was given twice, or --set names what no run of this kind has.
    """
    typed = given(argv) - {"set", "resume", "world_model_only"}
    more = settings(args.set)
    if both := typed & set(more):
        raise ConfigError(f"given twice, as an option and by --set: {', '.join(sorted(both))}")
    known = [f.name for f in dataclasses.fields(kind) if f.name not in ("task", "dataset")]
    for key in more:
        if key not in known:
            raise ConfigError(f"--set: unknown setting {key!r}. {nearest(key, known)}")
    check_device(args.device)
    return {name: getattr(args, name) for name in typed} | more
