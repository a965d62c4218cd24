"""The folder of a run, and what the machine looked like when it ran.

runs/<name>/  config.json  metrics.jsonl  tensorboard/  checkpoints/  replay/  videos/
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import platform
import shutil
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from aime_agent.configs import from_dict, to_dict
from aime_agent.data.files import write_json
from aime_agent.data.saved import find
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.training.config import RunConfig, TrainConfig

_PACKAGES = ("torch", "numpy", "gymnasium", "dm-control", "mujoco")
_CREATED = ("metrics.jsonl", "tensorboard", "checkpoints", "replay")
_log = logging.getLogger(__name__)

C = TypeVar("C", bound=RunConfig)


class RunFolder(Generic[C]):
    """Paths inside a run folder.

    Args:
        path: The folder.
        kind: Dataclass of its configuration; of training or of offline training.
    """

    def __init__(self, path: Path, kind: type[C]) -> None:
        self.path = path
        self.kind = kind
        self.config_file = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.events = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.replay = path / "replay"

    def start(self, config: C) -> None:
        """Writes ``config.json`` into an empty run.

        Raises:
            ConfigError: the folder holds a run already.
        """
        self.require_new()
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(self.config_file, to_dict(config))

    def require_new(self) -> None:
        """Raises `ConfigError` if the folder holds a run already."""
        if self.config_file.exists():
            raise ConfigError(
                f"{self.path} holds a run already: give another --out, or go on with --resume"
            )

    def clear(self) -> None:
        """Removes what an interrupted start left, except the configuration."""
        for name in _CREATED:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self.checkpoints.mkdir()

    def read_config(self) -> C:
        """Reads the configuration.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        try:
            return from_dict(self.kind, json.loads(self.config_file.read_text()))
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.path}: a run folder required, found no config.json"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{self.config_file}: cannot be read ({error})") from error

    def resume(self, changes: dict[str, Any]) -> C:
        """Returns the stored configuration with the allowed changes, and stores it.

        Raises:
            ConfigError: a change would make the run another run.
        """
        stored = self.read_config()
        for name, value in changes.items():
            if name not in self.kind.changeable and (old := getattr(stored, name)) != value:
                raise ConfigError(
                    f"--resume: {name} must stay {old!r} as in {self.config_file}, found {value!r}"
                )
        config = dataclasses.replace(stored, **changes)
        write_json(self.config_file, to_dict(config))
        return config


def resolve(path: Path | str) -> tuple[RunFolder[TrainConfig], Path]:
    """Returns the run and the checkpoint that ``path`` names: a run folder or a checkpoint.

    Raises:
        CheckpointError: it is neither, or no checkpoint in it is valid.
    """
    folder = find(path)
    run = folder.parent.parent
    if not (run / "config.json").exists():
        raise CheckpointError(f"{folder}: lies in no run folder, found no config.json in {run}")
    return RunFolder(run, TrainConfig), folder


def machine() -> dict[str, Any]:
    """Returns what bit-identical numbers depend on: versions, threads, processor."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "processor": hashlib.sha256(_processor().encode()).hexdigest()[:12],
    }


def warn_if_changed(stored: dict[str, Any]) -> None:
    """Says which of them differ from those of the checkpoint."""
    now = machine()
    for name in sorted(now):
        if stored.get(name) != now[name]:
            _log.warning(
                "resuming with another %s (%s, was %s): numbers may differ in the last digits",
                name,
                now[name],
                stored.get(name),
            )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text().splitlines()
    return "\n".join(
        sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    )
