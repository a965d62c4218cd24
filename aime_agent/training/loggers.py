"""Where numbers go: JSON lines, TensorBoard, the terminal. Only this module writes them.

A file logger can be rolled back: `lengths` says how long its files are at a checkpoint, and the
constructor cuts them to that length again. Clock values stay apart (key ``clock``), so two runs
can be compared without them.
"""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from aime_agent.errors import CheckpointError, MissingDependencyError
from aime_agent.training.progress import Meter, duration

_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One line of metrics."""

    kind: str
    """``train``, ``episode``, ``eval`` or ``held_out``."""
    update: int
    frames: int
    """Control steps collected; 0 where none are, and then curves run over updates."""
    values: Mapping[str, float]
    clock: Mapping[str, float]


@runtime_checkable
class Logger(Protocol):
    """One destination."""

    def log(self, record: Record) -> None:
        """Takes a line."""

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Takes pictures by name."""

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Takes tensors whose distribution matters."""

    def lengths(self) -> dict[str, int]:
        """Flushes and returns the bytes of each file."""

    def close(self) -> None:
        """Flushes and closes."""


class JsonlLogger:
    """One JSON object per line; numbers that are not finite become null.

    Args:
        path: The file.
        lengths: What `lengths` returned at the checkpoint to go on from; None starts anew.

    Raises:
        CheckpointError: the file is shorter than it was.
    """

    def __init__(self, path: Path, lengths: Mapping[str, int] | None = None) -> None:
        self._name = path.name
        found = path.stat().st_size if path.exists() else 0
        if lengths is not None and found < lengths[path.name]:
            raise CheckpointError(f"{path}: {lengths[path.name]} bytes required, found {found}")
        self._file = path.open("wb" if lengths is None else "r+b")
        if lengths is not None:
            self._file.truncate(lengths[path.name])
            self._file.seek(lengths[path.name])

    def log(self, record: Record) -> None:
        """Appends a line and hands it to the system."""
        line = {
            "kind": record.kind,
            "update": record.update,
            "frames": record.frames,
            **{k: v if math.isfinite(v) else None for k, v in record.values.items()},
            "clock": {k: round(v, 3) for k, v in record.clock.items()},
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Leaves pictures to others."""

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Leaves histograms to others."""

    def lengths(self) -> dict[str, int]:
        """Waits for the disk and returns the length of the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {self._name: self._file.tell()}

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardLogger:
    """Scalars against frames (or updates), pictures and histograms against updates.

    Args:
        folder: Of the event files. A continued run writes one more file.
        lengths: What `lengths` returned at the checkpoint to go on from; None starts anew.

    Raises:
        MissingDependencyError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, lengths: Mapping[str, int] | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependencyError(
                "TensorBoard is not installed: pip install 'aime-agent[tensorboard]'"
            ) from None
        self._folder = folder
        for path in sorted(folder.glob("events.*")):
            if lengths is None or path.name not in lengths:
                path.unlink()
            else:
                os.truncate(path, lengths[path.name])
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{len(lengths or {})}")

    def log(self, record: Record) -> None:
        """Writes every value under its kind."""
        step = record.frames or record.update
        for name, value in record.values.items():
            self._writer.add_scalar(f"{record.kind}/{name}", value, step)
        for name, value in record.clock.items():
            self._writer.add_scalar(f"clock/{name}", value, step)

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Writes pictures."""
        for name, image in images.items():
            self._writer.add_image(name, image, update, dataformats="HWC")

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes histograms of gradients, codes or whatever the agent reports as a tensor."""
        for name, tensor in tensors.items():
            self._writer.add_histogram(name, tensor.detach().float().cpu(), update)

    def lengths(self) -> dict[str, int]:
        """Flushes and returns the length of every event file."""
        self._writer.flush()
        return {p.name: p.stat().st_size for p in sorted(self._folder.glob("events.*"))}

    def close(self) -> None:
        """Closes the current event file."""
        self._writer.close()


class ProgressLogger:
    """Frames, frames per second, last return and time left: a bar, or plain lines without a TTY."""

    def __init__(self, total_frames: int, console: Console | None = None) -> None:
        self._total = total_frames
        self._console = console or Console(stderr=True)
        self._last_return = math.nan
        self._bar: Progress | None = None
        if self._console.is_terminal:
            text = "{task.completed:,.0f}/{task.total:,.0f} frames  {task.fields[note]}"
            self._bar = Progress(
                BarColumn(), TextColumn(text), TimeRemainingColumn(), console=self._console
            )
            self._task = self._bar.add_task("train", total=total_frames, note="")
            self._bar.start()

    def log(self, record: Record) -> None:
        """Shows a line of training, or remembers a return."""
        if record.kind == "episode":
            self._last_return = record.values["return"]
        speed = record.clock.get("frames_per_second", math.nan)
        pace = f"{speed:.0f} frames/s" if math.isfinite(speed) else "learning from what is there"
        note = f"{pace}  return {self._last_return:.1f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=record.frames, note=note)
        elif record.kind != "episode" and record.update % 100 == 0:
            left = (self._total - record.frames) / speed if speed > 0 else math.nan
            self._console.print(
                f"{record.frames:,}/{self._total:,} frames  update {record.update:,}  {note}  "
                f"left {duration(left)}",
                soft_wrap=True,
            )

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Leaves pictures to others."""

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Leaves histograms to others."""

    def lengths(self) -> dict[str, int]:
        """Has no file."""
        return {}

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()


class UpdateProgressLogger:
    """Updates, updates per second, loss, held-out loss and time left of offline training."""

    def __init__(self, total_updates: int, console: Console | None = None) -> None:
        self._meter = Meter(total_updates, "updates", console)
        self._losses: dict[str, float] = {}

    def log(self, record: Record) -> None:
        """Shows a line of training, with the last held-out loss."""
        name = "loss" if record.kind == "train" else "held-out loss"
        self._losses[name] = record.values["total" if record.kind == "held_out" else "loss"]
        pace = record.clock.get("updates_per_second", math.nan)
        losses = "  ".join(f"{k} {v:.1f}" for k, v in self._losses.items())
        speed = f"{pace:.2f} updates/s  " if math.isfinite(pace) else ""
        self._meter.show(record.update, speed + losses)

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Leaves pictures to others."""

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Leaves histograms to others."""

    def lengths(self) -> dict[str, int]:
        """Has no file."""
        return {}

    def close(self) -> None:
        """Ends the bar."""
        self._meter.close()


def make_loggers(
    metrics: Path,
    events: Path | None,
    other: Logger | None,
    lengths: Mapping[str, Mapping[str, int]] | None,
) -> list[Logger]:
    """Builds the destinations of a run, rolled back to ``lengths``.

    Args:
        metrics: File of JSON lines.
        events: Folder of TensorBoard's; None leaves it out.
        other: One more destination, such as the terminal.
        lengths: What `logger_lengths` returned at the checkpoint; None starts anew.
    """
    loggers: list[Logger] = [
        JsonlLogger(metrics, None if lengths is None else lengths["JsonlLogger"])
    ]
    if other is not None:
        loggers.append(other)
    if events is not None:
        known = None if lengths is None else lengths.get("TensorBoardLogger")
        try:
            loggers.append(TensorBoardLogger(events, known))
        except MissingDependencyError as error:
            _log.warning("%s; metrics.jsonl is written all the same", error)
    return loggers


def logger_lengths(loggers: list[Logger]) -> dict[str, dict[str, int]]:
    """Returns the lengths of all files, by logger."""
    return {type(x).__name__: x.lengths() for x in loggers}
