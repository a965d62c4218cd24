"""Noise that depends on (seed, stream, step) only, so that nothing else can disturb it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, stream: str, step: int, device: torch.device) -> Iterator[None]:
    """Runs a block under torch's random state of (seed, stream, step), and restores it after.

    >>> with seeded(0, "act", 7, torch.device("cpu")):
    ...     first = torch.rand(())
    >>> with seeded(0, "act", 7, torch.device("cpu")):
    ...     bool(first == torch.rand(()))
    True
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        yield
