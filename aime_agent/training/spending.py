"""What a process has spent so far, with those that it started."""

import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

SPENT = ("cpu_seconds", "wall_seconds")


def spent(before: Mapping[str, float] | None = None) -> dict[str, float]:
    """Seconds on the clock since this process began, and `cpu_seconds`.

    Args:
        before: What earlier processes of the same run had spent; it is added.
    """
    wall = time.time() - psutil.Process().create_time()
    found = {"cpu_seconds": cpu_seconds(), "wall_seconds": wall}
    return {name: value + (before or {}).get(name, 0.0) for name, value in found.items()}


def cpu_seconds() -> float:
    """Processor seconds of this process and of all below it, those of environments included."""
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
