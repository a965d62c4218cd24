"""Files that are whole or absent: written aside, flushed to the disk, renamed."""

import json
import os
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a new file and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Waits until the names inside a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any) -> None:
    """Replaces a JSON file in one step: readers see the old text or the new one."""
    aside = path.with_name(path.name + ".tmp")
    write_bytes(aside, json_bytes(data))
    aside.replace(path)
    sync_folder(path.parent)


def json_bytes(data: Any) -> bytes:
    """Returns readable JSON; floats keep every bit."""
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
