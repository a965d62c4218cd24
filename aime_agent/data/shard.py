"""One shard: a fixed number of rows in two ``.npy`` files, written by position, read by memory map.

``frames.npy`` is ``[capacity, H, W, C]`` uint8; ``steps.npy`` is ``[capacity]`` with the fields
``action, reward, terminated, is_first``. Both have their full length from the start but are sparse:
rows that were never written take no space. Rows are written through file handles, not through the
map, because a full disk then raises an error where a mapped page would kill the process.
"""

import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aime_agent.errors import DataError

_FILES = ("frames.npy", "steps.npy")


class Layout(NamedTuple):
    """What every shard of a store has in common."""

    frame_shape: tuple[int, int, int]
    action_dim: int
    capacity: int

    @property
    def step_dtype(self) -> np.dtype[Any]:
        """The packed record of everything in a row but its frame."""
        action = ("action", np.float32, (self.action_dim,))
        return np.dtype([action, ("reward", np.float32), ("terminated", "?"), ("is_first", "?")])

    @property
    def row_bytes(self) -> tuple[int, int]:
        """Bytes of a row in ``frames.npy`` and in ``steps.npy``."""
        return int(np.prod(self.frame_shape)), self.step_dtype.itemsize

    @property
    def shard_bytes(self) -> int:
        """Bytes of the rows of a full shard."""
        return self.capacity * sum(self.row_bytes)


class Shard:
    """Rows ``0 … rows-1`` of one folder, with a running checksum of each file's rows.

    Args:
        folder: Holds the two files; both are created if the folder is missing.
        layout: Shapes and capacity.
        rows: How many rows count; what lies behind them is cut away.
        checksums: CRC-32 of those rows in each file, checked against the disk.

    Raises:
        DataError: a file is missing, foreign, or differs from its checksum.
    """

    def __init__(
        self, folder: Path, layout: Layout, rows: int = 0, checksums: tuple[int, ...] = (0, 0)
    ) -> None:
        self.folder = folder
        self.layout = layout
        self.rows = rows
        self.checksums = list(checksums)
        self._handles: list[int] = []
        self._written = False
        if not folder.exists():
            self._create()
        maps = [_open_map(folder / name) for name in _FILES]
        self._offsets = [int(m.offset) for m in maps]
        self._maps = [m.view(np.ndarray) for m in maps]
        self._check_format()

    @property
    def frames(self) -> np.ndarray:
        """The mapped frames, ``[capacity, H, W, C]``; rows past ``rows`` are zero."""
        return self._maps[0]

    @property
    def steps(self) -> np.ndarray:
        """The mapped records, ``[capacity]``."""
        return self._maps[1]

    @property
    def full(self) -> bool:
        """True when no row is left."""
        return self.rows == self.layout.capacity

    def append(self, frame: np.ndarray, step: np.ndarray) -> None:
        """Writes one row; the row counts only once both parts are written."""
        if not self._handles:
            self._handles = [os.open(self.folder / name, os.O_RDWR) for name in _FILES]
        sums = []
        for i, (part, size) in enumerate(zip((frame, step), self.layout.row_bytes, strict=True)):
            data = part.tobytes()
            _write_at(self._handles[i], data, self._offsets[i] + self.rows * size)
            sums.append(zlib.crc32(data, self.checksums[i]))
        self._written = True
        self.checksums = sums
        self.rows += 1

    def verify(self) -> None:
        """Reads all rows and raises `DataError` if one differs from what was written."""
        for name, rows, known in zip(_FILES, self._maps, self.checksums, strict=True):
            if zlib.crc32(rows[: self.rows].view(np.uint8).data) != known:
                raise DataError(f"{self.folder / name}: rows differ from their checksum (damaged)")

    def cut(self) -> None:
        """Zeroes what lies behind the rows that count (written before an interruption)."""
        for i, (name, size) in enumerate(zip(_FILES, self.layout.row_bytes, strict=True)):
            path = self.folder / name
            full = path.stat().st_size
            os.truncate(path, self._offsets[i] + self.rows * size)
            os.truncate(path, full)

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        if self._written:
            for handle in self._handles:
                os.fsync(handle)
            self._written = False
        if self.full:
            self.close()

    def close(self) -> None:
        """Closes the writing side; reading goes on."""
        while self._handles:
            os.close(self._handles.pop())

    def _create(self) -> None:
        """Makes both files in a folder aside, so that a shard is whole or absent."""
        aside = self.folder.with_name(self.folder.name + ".tmp")
        aside.mkdir(parents=True, exist_ok=True)
        n, shape = self.layout.capacity, self.layout.frame_shape
        for name, dtype, dims in (
            (_FILES[0], np.dtype(np.uint8), (n, *shape)),
            (_FILES[1], self.layout.step_dtype, (n,)),
        ):
            np.lib.format.open_memmap(aside / name, mode="w+", dtype=dtype, shape=dims)
        aside.rename(self.folder)

    def _check_format(self) -> None:
        want = ((self.layout.capacity, *self.layout.frame_shape), (self.layout.capacity,))
        if (
            self.frames.shape,
            self.steps.shape,
        ) != want or self.steps.dtype != self.layout.step_dtype:
            raise DataError(f"{self.folder}: shapes {want} required, found another world's shard")


def _open_map(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _write_at(handle: int, data: bytes, offset: int) -> None:
    """Writes all bytes; the second call after a short write raises what went wrong."""
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], offset + done)
