"""Fair times on a shared machine: processor seconds, least of several alternated repeats.

Every round runs the calibration kernel and then each workload once, so that all of them meet the
same neighbours. The least time of a workload is what it needs; its ratio to the least time of the
kernel can be compared between machines, seconds cannot.
"""

import gc
import statistics
import time
from typing import NamedTuple

import torch

CALIBRATION = "calibration"
SIDE, PRODUCTS = 512, 4


class Timing(NamedTuple):
    """Processor seconds of one workload."""

    least: float
    median: float
    ratio: float
    """Least time in units of the calibration kernel's."""
    repeats: int


def calibration():
    """Four products of 512 × 512 matrices (1.07 GFLOP), always the same."""
    x = torch.full((SIDE, SIDE), 1.0 / SIDE)
    for _ in range(PRODUCTS):
        x = x @ x
    return x


def alternate(workloads, repeats, calls=None):
    """Times workloads in turns.

    Args:
        workloads: Functions of no argument, by name.
        repeats: Rounds, after one to warm up.
        calls: How often a workload runs per repeat, by name; the time is divided by it.
    """
    calls = calls or {}
    every = {CALIBRATION: calibration, **workloads}
    times = {name: [] for name in every}
    for turn in range(repeats + 1):
        for name, work in every.items():
            count = calls.get(name, 1)
            gc.collect()
            start = time.process_time()
            for _ in range(count):
                work()
            if turn:
                times[name].append((time.process_time() - start) / count)
    unit = min(times[CALIBRATION])
    return {
        name: Timing(min(seen), statistics.median(seen), min(seen) / unit, repeats)
        for name, seen in times.items()
    }
