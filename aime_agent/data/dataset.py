"""What a stored dataset is about: ``dataset.json`` beside the store's ``manifest.json``.

A folder with both is a dataset: streams of whole episodes, and where they come from. The replay of
a run has a manifest only; its facts are read from the run's ``config.json``, and the last episode of
a stream may still be open.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aime_agent.configs import to_dict
from aime_agent.data.files import write_json
from aime_agent.data.storage import ShardStore
from aime_agent.errors import DataError

FILE = "dataset.json"
_FORMAT, _VERSION = "aime-agent dataset", 1


class EpisodeRecord(NamedTuple):
    """An episode in ``dataset.json``."""

    env: int
    """Stream of the store."""
    number: int
    """Within its stream, from 0."""
    start: int
    """First row."""
    length: int
    """Rows: one more than actions were taken."""
    total_reward: float
    terminated: bool
    """Whether it ended by itself and not by a time limit."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Where the episodes come from."""

    task: str
    """Suite task or Gymnasium id."""
    policy: str
    """Who played."""
    image_size: int
    action_repeat: int = 1
    """Physics frames per row."""
    camera_id: int | str | None = 0
    render_quality: str = "standard"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was collected, beyond the above."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages that made it."""


class Described(NamedTuple):
    """A store with what is known about it."""

    store: ShardStore
    info: DatasetInfo | None
    """None for a bare store."""
    whole: bool
    """Whether every stream ends with a complete episode."""


def write_info(folder: Path, info: DatasetInfo, episodes: list[EpisodeRecord]) -> None:
    """Writes ``dataset.json`` in one step."""
    text = {
        "format": _FORMAT,
        "version": _VERSION,
        **to_dict(info),
        "episodes": [episode._asdict() for episode in episodes],
    }
    write_json(folder / FILE, text)


def read_info(folder: Path) -> DatasetInfo:
    """Reads where a dataset comes from.

    Raises:
        DataError: ``dataset.json`` is missing, damaged or of another format.
    """
    return _read(folder)[0]


def read_records(folder: Path) -> list[EpisodeRecord]:
    """Reads the list of episodes.

    Raises:
        DataError: ``dataset.json`` is missing, damaged or of another format.
    """
    return _read(folder)[1]


def open_described(folder: str | Path) -> Described:
    """Opens a dataset or the replay of a run, for reading only.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DataError(f"{folder}: no such dataset folder")
    run = path
    if not (path / "manifest.json").exists() and (path / "replay" / "manifest.json").exists():
        path = path / "replay"
    else:
        run = path.parent if path.name == "replay" else path
    store = ShardStore.open(path, read_only=True)
    if (path / FILE).exists():
        return Described(store, read_info(path), True)
    return Described(store, _info_of_run(run), False)


def episode_records(store: ShardStore, env: int, start: int = 0) -> list[EpisodeRecord]:
    """Describes the episodes of a stream that ends with a complete one, from a first row on.

    Their numbers count from 0 at ``start``.
    """
    steps = store.read_steps(env, start)
    first = store.bounds(env)[1] - len(steps)
    lows = np.flatnonzero(steps["is_first"]).tolist()
    records = []
    highs = [*lows[1:], len(steps)]
    for number, (low, high) in enumerate(zip(lows, highs, strict=False)):
        total = math.fsum(steps["reward"][low:high].tolist())
        ended = bool(steps["terminated"][high - 1])
        records.append(EpisodeRecord(env, number, first + low, high - low, total, ended))
    return records


def _read(folder: Path) -> tuple[DatasetInfo, list[EpisodeRecord]]:
    path = folder / FILE
    try:
        text = json.loads(path.read_text())
        found = text.pop("format"), text.pop("version")
        if found != (_FORMAT, _VERSION):
            raise DataError(f"{path}: {_FORMAT!r} version {_VERSION} required, found {found}")
        records = [EpisodeRecord(**episode) for episode in text.pop("episodes")]
        return DatasetInfo(**text), records
    except DataError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no readable description of a dataset ({error})") from error


def _info_of_run(run: Path) -> DatasetInfo | None:
    """Reads the facts about a run's replay from its configuration, if there is one."""
    try:
        text = json.loads((run / "config.json").read_text())
        return DatasetInfo(
            task=text["task"],
            policy="training",
            image_size=text["image_size"],
            action_repeat=text["action_repeat"],
            camera_id=text["camera_id"],
            render_quality=text["render_quality"],
            seed=text["seed"],
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
