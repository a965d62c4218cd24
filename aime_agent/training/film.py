"""Films on disk: frames stream into an mp4 or a GIF, and Ctrl-C leaves what there is, playable.

A GIF is made from a film that lies beside it: one pass of ffmpeg finds 256 colours for all frames, a
second one paints with them, so no frame is kept in memory and no colour flickers.
"""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.errors import ConfigError, MissingDependencyError
from aime_agent.training.interrupts import Wish, listening
from aime_agent.training.panels import Picture
from aime_agent.training.progress import Meter

SUFFIXES = (".mp4", ".gif")
GIF_WIDTH, GIF_RATE = 800, 12.5
"""Widest GIF in pixels, most frames per second; more would make files of tens of megabytes."""
_SLOWEST, _FASTEST = 15.0, 30.0


class Film(NamedTuple):
    """What was written."""

    path: Path
    frames: int
    complete: bool
    """False where Ctrl-C ended it early."""


def write_film(path: Path, frames: Iterator[Picture], fps: float, total: int | None = None) -> Film:
    """Streams frames into a file at 15 to 30 frames per second (a GIF: at most 12.5).

    The first Ctrl-C ends the film after the present frame; the file is complete and plays. An error
    leaves no file.

    Args:
        path: Ends in ``.mp4`` (H.264; sides must be even) or ``.gif``.
        frames: Pictures of one size.
        fps: Frames per second of the original; a GIF leaves out frames instead of slowing down.
        total: How many frames there will be, for a progress meter on stderr; None shows none.

    Raises:
        ConfigError: the name ends in something else, or there is no frame.
        MissingDependencyError: there is no ffmpeg.
    """
    check_suffix(path)
    encoder = _ffmpeg()
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = min(max(fps, _SLOWEST), _FASTEST)
    stride = -int(-rate // GIF_RATE) if path.suffix == ".gif" else 1
    part = path.with_name(f".{path.stem}.part.mp4")
    wish = Wish()
    try:
        with listening(wish):
            count = _stream(part, frames, rate / stride, stride, total, wish)
        if not count:
            raise ConfigError(f"{path}: at least one frame required, found none")
        if path.suffix == ".gif":
            _to_gif(encoder, part, path)
        else:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return Film(path, count, not wish)


def check_suffix(path: str | Path) -> None:
    """Raises `ConfigError` unless a film's name ends in ``.mp4`` or ``.gif``."""
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f"the film's name must end in .mp4 or .gif, found {str(path)!r}")


def _stream(
    part: Path, frames: Iterator[Picture], fps: float, stride: int, total: int | None, wish: Wish
) -> int:
    """Appends every ``stride``-th frame until the frames or the patience end; returns how many."""
    import imageio.v2

    meter = None if total is None else Meter(total, "frames")
    writer: Any = imageio.v2.get_writer(part, fps=fps, codec="libx264", quality=8)
    count = 0
    try:
        with closing(writer):  # the writer's own context does not close after an error
            for i, frame in enumerate(frames):
                if i % stride == 0:
                    writer.append_data(frame)
                    count += 1
                if meter is not None:
                    meter.show(i + 1, "filmed")
                if wish:
                    break
    finally:
        if meter is not None:
            meter.close()
    return count


def _to_gif(encoder: str, film: Path, gif: Path) -> None:
    """Paints a film with one palette for all frames, at most `GIF_WIDTH` wide, looping."""
    colours, part = film.with_suffix(".png"), film.with_suffix(".gif")
    scale = f"scale='min({GIF_WIDTH},iw)':-2:flags=lanczos"
    try:
        _run(encoder, film, "-vf", f"{scale},palettegen=stats_mode=full", "-update", "1", colours)
        paint = f"{scale}[x];[x][1:v]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
        _run(encoder, film, "-i", colours, "-lavfi", paint, "-loop", "0", part)
        part.replace(gif)
    finally:
        for left in (colours, part):
            left.unlink(missing_ok=True)


def _run(encoder: str, film: Path, *words: str | Path) -> None:
    command = [encoder, "-v", "error", "-y", "-i", str(film), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"ffmpeg could not make the GIF: {done.stderr.strip()}")


def _ffmpeg() -> str:
    """Returns the path of ffmpeg."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            f"films need ffmpeg ({error}): pip install imageio imageio-ffmpeg"
        ) from error
