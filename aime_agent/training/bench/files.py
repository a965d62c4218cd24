"""Files of a job, and how they are written: whole or not at all."""

from pathlib import Path

SPEC, RESULT = "spec.json", "result.json"


def write(path: Path, data: bytes) -> None:
    """Writes a file in one step."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    beside.replace(path)
