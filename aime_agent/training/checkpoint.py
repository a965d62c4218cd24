"""Checkpoints that are whole or absent: safetensors and JSON, never pickle.

    checkpoints/step_000001000/
        agent.safetensors    weights, averages, optimisers, normalisers
        acting.safetensors   what the collector and the acting policy are in the middle of
        agent.json           the agent's configuration
        trainer.json         counters, rows and checksums of the replay, lengths of the logs
        files.json           size and SHA-256 of the four above, format version

A checkpoint is written to a folder aside, flushed, renamed, and the parent folder flushed. At any
moment a kill leaves either the previous checkpoint or both.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from aime_agent.data.files import json_bytes, sync_folder, write_bytes
from aime_agent.data.saved import FORMAT, FORMAT_VERSION, INDEX, problem_of
from aime_agent.data.saved import Checkpoint as Checkpoint
from aime_agent.data.saved import find as find
from aime_agent.data.saved import latest as latest
from aime_agent.data.saved import load as load
from aime_agent.data.saved import names as names
from aime_agent.errors import CheckpointError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint atomically; an existing valid one of that name is left as it is.

    Raises:
        CheckpointError: the disk is full; the folder aside is gone, older checkpoints are intact.
    """
    if folder.exists():
        if problem_of(folder) is None:
            return folder
        shutil.rmtree(folder)
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with explained_full_disk(f"writing the checkpoint {folder}"):
            _write(aside, checkpoint)
            _rename(aside, folder)
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def prune(run: Path, keep: int) -> list[Path]:
    """Deletes all but the newest ``keep`` checkpoints and returns those kept."""
    folders = names(run)
    for old in folders[keep:]:
        shutil.rmtree(old)
    for aside in (run / "checkpoints").glob(".step_*.tmp"):
        shutil.rmtree(aside)
    return folders[:keep]


def trainer_state(folder: Path) -> dict[str, Any]:
    """Reads only counters and replay rows of a checkpoint; empty if they cannot be read."""
    try:
        state = json.loads((folder / "trainer.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


@contextmanager
def explained_full_disk(doing: str) -> Iterator[None]:
    """Turns a full disk into a `CheckpointError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CheckpointError(
            f"the disk is full ({error.strerror}) while {doing}. The previous checkpoint is valid: "
            "free some space and go on with --resume"
        ) from error


def _write(aside: Path, checkpoint: Checkpoint) -> None:
    aside.mkdir(parents=True)
    contents = {
        "agent.safetensors": _tensor_bytes(checkpoint.agent),
        "acting.safetensors": _tensor_bytes(checkpoint.acting),
        "agent.json": json_bytes(checkpoint.agent_config),
        "trainer.json": json_bytes(checkpoint.trainer),
    }
    files = {}
    for name, data in contents.items():
        write_bytes(aside / name, data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    index = {"format": FORMAT, "version": FORMAT_VERSION, "files": files}
    write_bytes(aside / INDEX, json_bytes(index))
    sync_folder(aside)


def _rename(aside: Path, folder: Path) -> None:
    aside.rename(folder)


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialises copies: safetensors refuses tensors that share memory."""
    copies = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    return safetensors.torch.save(copies)
