"""A progress meter on stderr: a bar in a terminal, now and then a line elsewhere."""

import math
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 10.0


class Meter:
    """Shows how much of a total is done, a note, and the time left.

    Args:
        total: How much there is to do.
        unit: Of what.
        console: Where to show it; stderr if None.
        every: Seconds between two lines where there is no terminal.
    """

    def __init__(
        self, total: int, unit: str, console: Console | None = None, every: float = _LINE_SECONDS
    ) -> None:
        self._total = total
        self._unit = unit
        self._every = every
        self._console = console or Console(stderr=True)
        self._begun = self._shown = time.monotonic()
        self._start: int | None = None
        self._bar: Progress | None = None
        if self._console.is_terminal:
            text = "{task.completed:,.0f}/{task.total:,.0f} " + unit + "  {task.fields[note]}"
            self._bar = Progress(
                BarColumn(), TextColumn(text), TimeRemainingColumn(), console=self._console
            )
            self._task = self._bar.add_task("", total=total, note="")
            self._bar.start()

    def show(self, done: int, note: str) -> None:
        """Takes the present count."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        self._start = done if self._start is None else self._start
        if now - self._shown < self._every and done < self._total:
            return
        self._shown = now
        gained = done - self._start
        left = (now - self._begun) / gained * (self._total - done) if gained else math.nan
        self._console.print(
            f"{done:,}/{self._total:,} {self._unit}  {note}  left {duration(left)}", soft_wrap=True
        )

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Returns hours and minutes, or seconds where these say nothing.

    >>> duration(3 * 3600 + 61), duration(59.9), duration(float("nan"))
    ('3:01 h', '59 s', '?')
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, _ = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
