"""Checkpoint folders, from the reader's side: what is in one, which is valid, which is the newest.

`aime_agent.training.checkpoint` writes them and describes the files.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from aime_agent.errors import CheckpointError

FORMAT = "aime-agent checkpoint"
FORMAT_VERSION = 1
INDEX = "files.json"
_CONFIG = "config.json"
_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """All that a run needs to go on as if it had never stopped."""

    agent: dict[str, Tensor]
    acting: dict[str, Tensor]
    agent_config: dict[str, Any]
    trainer: dict[str, Any]


def load(folder: Path) -> Checkpoint:
    """Reads a checkpoint after checking every file.

    Raises:
        CheckpointError: it is missing, incomplete, damaged, foreign, or of another format.
    """
    problem = problem_of(folder)
    if problem is not None:
        raise CheckpointError(f"{folder}: {problem}")
    try:
        return Checkpoint(
            agent=safetensors.torch.load((folder / "agent.safetensors").read_bytes()),
            acting=safetensors.torch.load((folder / "acting.safetensors").read_bytes()),
            agent_config=json.loads((folder / "agent.json").read_bytes()),
            trainer=json.loads((folder / "trainer.json").read_bytes()),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be read ({error})") from error


def names(run: Path) -> list[Path]:
    """Returns the checkpoint folders of a run, the newest first, valid or not."""
    return sorted((run / "checkpoints").glob("step_*"), reverse=True)


def latest(run: Path) -> Path:
    """Returns the newest valid checkpoint of a run; says so when it had to pass over one.

    Raises:
        CheckpointError: there is none; the message names what is wrong with each.
    """
    problems = []
    for folder in names(run):
        problem = problem_of(folder)
        if problem is None:
            return folder
        _log.warning("%s: %s; falling back to the previous checkpoint", folder, problem)
        problems.append(f"{folder.name}: {problem}")
    found = "; ".join(problems) or "no checkpoint"
    raise CheckpointError(f"{run}: a valid checkpoint required, found {found}")


def find(path: Path | str) -> Path:
    """Returns the checkpoint that ``path`` names: itself, or the newest valid one of a run folder.

    Raises:
        CheckpointError: it is neither, or no checkpoint in it is valid.
    """
    path = Path(path)
    if (path / _CONFIG).exists():
        return latest(path)
    if path.name.startswith("step_"):
        return path
    raise CheckpointError(f"{path}: a run folder or a checkpoint of one required")


def read_agent(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the agent's configuration and tensors from a run folder or a checkpoint.

    Raises:
        CheckpointError: as `find` and `load`.
    """
    saved = load(find(path))
    return saved.agent_config, saved.agent


def problem_of(folder: Path) -> str | None:
    """Says what is wrong with a checkpoint folder, or None."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        if index["format"] != FORMAT:
            return f"foreign: format {FORMAT!r} required, found {index['format']!r}"
        if index["version"] != FORMAT_VERSION:
            return f"format version {FORMAT_VERSION} required, found {index['version']}"
        problems = (_file_problem(folder / k, known) for k, known in index["files"].items())
        return next((problem for problem in problems if problem), None)
    except FileNotFoundError as error:
        return f"incomplete: {Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"not a checkpoint ({type(error).__name__}: {error})"


def _file_problem(path: Path, known: Mapping[str, Any]) -> str | None:
    data = path.read_bytes()
    if len(data) != known["bytes"]:
        return f"{path.name} is truncated: {known['bytes']} bytes required, found {len(data)}"
    if hashlib.sha256(data).hexdigest() != known["sha256"]:
        return f"{path.name} is damaged: its checksum differs"
    return None
