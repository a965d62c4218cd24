"""Rows of several environments on disk, each environment one stream of shards.

    row r of stream i lies in shard ⌊r / capacity⌋ at position r mod capacity

so finding a row needs no index. Memory holds open maps only; the pages belong to the page cache.
The byte cap removes whole shards, the oldest first. A store that can be rolled back to a checkpoint
(``defer_deletion``) leaves removed shards on disk until `collect` is told which ones are named.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aime_agent.data.files import write_json
from aime_agent.data.shard import Layout, Shard
from aime_agent.errors import ConfigError, DataError

FORMAT_VERSION = 1
_MANIFEST = "manifest.json"


class ShardStore:
    """Appends rows to streams and copies stretches of them out.

    Args:
        folder: Where the shards and the manifest lie.
        layout: Shapes and rows per shard.
        num_streams: One per environment.
        max_bytes: Cap on the rows that can be read; None for no cap. Shards whose deletion is
            deferred come on top until the next `collect`.
        defer_deletion: Keep removed shards on disk until `collect`.
        state: What `state` returned earlier: rows written since are cut away, and every row that
            counts is checked against its checksum first. None starts empty.
        read_only: Change nothing on disk: whoever writes the rows may be at work.

    Raises:
        ConfigError: the cap cannot hold two shards per stream.
        DataError: a shard that ``state`` names is missing or damaged, or the state is not one.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        num_streams: int = 1,
        *,
        max_bytes: int | None = None,
        defer_deletion: bool = False,
        state: Mapping[str, Any] | None = None,
        read_only: bool = False,
    ) -> None:
        least = 2 * num_streams * layout.shard_bytes
        if max_bytes is not None and max_bytes < least:
            raise ConfigError(
                f"max_bytes must hold two shards per stream ({least} bytes), found {max_bytes}"
            )
        self.folder = folder
        self.layout = layout
        self._max_bytes = max_bytes
        self._defer = defer_deletion
        self._read_only = read_only
        self._dirty: list[Shard] = []
        self._streams: list[dict[int, Shard]] = [{} for _ in range(num_streams)]
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        if state is not None:
            self._restore(state)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> "ShardStore":
        """Opens a store as its manifest describes it, to read it or to go on.

        Raises:
            DataError: there is no manifest, or it is not ours.
        """
        manifest = folder / _MANIFEST
        try:
            state = json.loads(manifest.read_text())
            if state["version"] != FORMAT_VERSION:
                raise DataError(
                    f"{manifest}: format {FORMAT_VERSION} required, found {state['version']}"
                )
            frame_shape, action_dim, capacity = state["layout"]
            layout = Layout(tuple(frame_shape), action_dim, capacity)
            return cls(folder, layout, len(state["streams"]), state=state, read_only=read_only)
        except DataError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{manifest}: no readable manifest ({error})") from error

    @property
    def num_streams(self) -> int:
        """How many environments are stored."""
        return len(self._streams)

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows that can be read."""
        rows = sum(s.rows for stream in self._streams for s in stream.values())
        return rows * sum(self.layout.row_bytes)

    def bounds(self, stream: int) -> tuple[int, int]:
        """Returns the first row that can be read and the one after the last."""
        shards = self._streams[stream]
        if not shards:
            return 0, 0
        last = next(reversed(shards))
        n = self.layout.capacity
        return next(iter(shards)) * n, last * n + shards[last].rows

    def append(self, stream: int, frame: np.ndarray, step: np.ndarray) -> None:
        """Writes one row: a uint8 frame and a record of ``layout.step_dtype``.

        Raises:
            DataError: the frame or the record has another shape or type, or the store is read only.
        """
        if self._read_only:
            raise DataError(f"{self.folder}: opened for reading only")
        if frame.dtype != np.uint8 or frame.shape != self.layout.frame_shape:
            raise DataError(
                f"frame: uint8 {self.layout.frame_shape} required, found {frame.dtype} {frame.shape}"
            )
        if step.dtype != self.layout.step_dtype:
            raise DataError(f"step: {self.layout.step_dtype} required, found {step.dtype}")
        shards = self._streams[stream]
        last = next(reversed(shards)) if shards else -1
        if last < 0 or shards[last].full:
            self._open_shard(stream, last + 1)
            last += 1
        shards[last].append(frame, step)

    def read(self, stream: int, start: int, frames: np.ndarray, steps: np.ndarray) -> None:
        """Copies ``len(steps)`` rows from ``start`` on into the two arrays."""
        n, done = self.layout.capacity, 0
        while done < len(steps):
            shard, at = divmod(start + done, n)
            take = min(len(steps) - done, n - at)
            source = self._streams[stream][shard]
            frames[done : done + take] = source.frames[at : at + take]
            steps[done : done + take] = source.steps[at : at + take]
            done += take

    def read_steps(self, stream: int, start: int = 0) -> np.ndarray:
        """Copies the records of a stream's rows from ``start`` on, without their frames."""
        shard, at = divmod(max(start, self.bounds(stream)[0]), self.layout.capacity)
        found = [s.steps[: s.rows] for k, s in self._streams[stream].items() if k >= shard]
        return np.concatenate(found)[at:] if found else np.empty(0, self.layout.step_dtype)

    def state(self) -> dict[str, Any]:
        """Returns rows and checksums of every shard, as JSON values."""
        return self._state_of([self.stream_state(i) for i in range(self.num_streams)])

    def stream_state(self, stream: int) -> dict[str, list[int]]:
        """Returns rows and checksums of a stream's shards."""
        return {str(k): [s.rows, *s.checksums] for k, s in self._streams[stream].items()}

    def sync(self, streams: Sequence[Mapping[str, list[int]]] | None = None) -> dict[str, Any]:
        """Waits until every row is on the disk, renews the manifest, and returns its state.

        Args:
            streams: What `stream_state` returned earlier for each stream: the manifest then leaves
                out what came after. None names all rows.
        """
        for shard in self._dirty:
            shard.sync()
        self._dirty = [s for s in self._dirty if not s.full]
        state = self.state() if streams is None else self._state_of(streams)
        write_json(self.folder / _MANIFEST, state)
        return state

    def collect(self, named: Collection[str] = ()) -> None:
        """Deletes all shards on disk that can neither be read nor are ``named``."""
        keep = shard_names(self.state()) | set(named)
        for path in sorted(self.folder.glob("env*/*")):
            if path.relative_to(self.folder).as_posix() not in keep:
                shutil.rmtree(path)

    def close(self) -> None:
        """Closes the writing side of all shards."""
        for shard in self._dirty:
            shard.close()

    def _state_of(self, streams: Sequence[Mapping[str, list[int]]]) -> dict[str, Any]:
        shape, action_dim, capacity = self.layout
        return {
            "version": FORMAT_VERSION,
            "layout": [list(shape), action_dim, capacity],
            "streams": list(streams),
        }

    def _open_shard(self, stream: int, index: int) -> None:
        if self._max_bytes is not None:
            while self._live_bytes() + self.layout.shard_bytes > self._max_bytes:
                self._evict()
        path = self.folder / _name(stream, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            shutil.rmtree(path)
        shard = Shard(path, self.layout)
        self._streams[stream][index] = shard
        self._dirty.append(shard)

    def _live_bytes(self) -> int:
        return sum(len(stream) for stream in self._streams) * self.layout.shard_bytes

    def _evict(self) -> None:
        """Takes the oldest shard out of reading; a stream always keeps its newest."""
        ages = [(next(iter(s)), i) for i, s in enumerate(self._streams) if len(s) > 1]
        index, stream = min(ages)
        shard = self._streams[stream].pop(index)
        if not self._defer:
            shard.close()
            self._dirty = [s for s in self._dirty if s is not shard]
            shutil.rmtree(shard.folder)

    def _restore(self, state: Mapping[str, Any]) -> None:
        shape, action_dim, capacity = state["layout"]
        if state["version"] != FORMAT_VERSION:
            raise DataError(
                f"{self.folder}: format {FORMAT_VERSION} required, found {state['version']}"
            )
        found = Layout(tuple(shape), action_dim, capacity)
        if found != self.layout or len(state["streams"]) != self.num_streams:
            raise DataError(f"{self.folder}: {self.layout} required, found {found}")
        for i, stream in enumerate(state["streams"]):
            for k in sorted(stream, key=int):
                rows, *sums = stream[k]
                path = self.folder / _name(i, int(k))
                if not path.is_dir():
                    raise DataError(f"{path}: the shard is missing")
                shard = Shard(path, self.layout, rows, tuple(sums))
                shard.verify()
                self._streams[i][int(k)] = shard
        if not self._read_only:
            self._dirty = [s for stream in self._streams for s in stream.values() if not s.full]
        for shard in self._dirty:
            shard.cut()


def shard_names(state: Mapping[str, Any]) -> set[str]:
    """Returns the folders, relative to the store, of the shards that a state names."""
    return {_name(i, int(k)) for i, stream in enumerate(state["streams"]) for k in stream}


def _name(stream: int, index: int) -> str:
    return f"env{stream:03d}/{index:06d}"
