"""Counter-based randomness: a draw depends on (seed, stream, counters), never on what ran before.

So evaluation, logging and checkpoints disturb nothing, and a resumed run needs no generator states.
"""

import zlib

import numpy as np
import torch


def numpy_rng(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """Returns the generator of a named stream at a position.

    >>> int(numpy_rng(0, "replay", 7).integers(100)) == int(numpy_rng(0, "replay", 7).integers(100))
    True
    """
    return np.random.default_rng(_sequence(seed, stream, *counters))


def torch_generator(
    seed: int, stream: str, *counters: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Returns the torch generator of a named stream at a position."""
    state = _sequence(seed, stream, *counters).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0] >> np.uint64(1)))


def episode_seed(seed: int, env: int, k: int) -> int:
    """Returns the reset seed of episode ``k`` of environment ``env``: 31 bits."""
    state = _sequence(seed, "episode", env, k).generate_state(1, np.uint32)
    return int(state[0] >> np.uint32(1))


def _sequence(seed: int, stream: str, *counters: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(stream.encode()), *counters])
