"""Rows of a benchmark in one JSON file that only grows: every run that was ever started has one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aime_agent.errors import DataError
from aime_agent.training.bench.files import write

Row = Mapping[str, Any]
_FORMAT = 1


def stored_rows(file: Path) -> list[dict[str, Any]]:
    """Reads what `save_rows` wrote; nothing where there is no file.

    Raises:
        DataError: the file is something else.
    """
    if not file.exists():
        return []
    try:
        text = json.loads(file.read_text())
        if text["format"] != _FORMAT:
            raise DataError(f"{file}: format {_FORMAT} required, found {text['format']}")
        rows: list[dict[str, Any]] = text["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: rows of a benchmark required ({error})") from error
    return rows


def save_rows(rows: Sequence[Row], file: Path) -> None:
    """Writes one row per specification and commit that began it, of several the last one given.

    A finished one is never replaced by an unfinished one.
    """
    kept: dict[str, Row] = {}
    for row in rows:
        key = json.dumps([row["spec"], row["commits"][:1]], sort_keys=True)
        if row["finished"] or not kept.get(key, {"finished": False})["finished"]:
            kept[key] = row
    if not kept:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": _FORMAT, "rows": list(kept.values())}, separators=(",", ":"))
    write(file, text.replace('{"spec"', '\n{"spec"').encode())
