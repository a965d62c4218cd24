"""A few short made-up episodes, and jobs on them that take seconds."""

from dataclasses import replace

import numpy as np
import pytest

from aime_agent.data.episode import Episode
from aime_agent.training.bench.data import Stored, save
from aime_agent.training.bench.fit import JobSpec

LENGTH, EPISODES, SIDE = 52, 5, 32


def _episode(k):
    """A bright square that walks as the action says; the reward is where it is."""
    rng = np.random.default_rng(k)
    actions = rng.uniform(-1, 1, (LENGTH, 2)).astype(np.float32)
    where = np.clip(np.cumsum(actions, 0) * 3 + 12, 0, SIDE - 8).astype(int)
    frames = np.full((LENGTH, SIDE, SIDE, 3), 40, np.uint8)
    masks = np.zeros((LENGTH, SIDE, SIDE), dtype=bool)
    for t, (x, y) in enumerate(where):
        frames[t, y : y + 8, x : x + 8] = 200
        masks[t, y : y + 8, x : x + 8] = True
    episode = Episode(
        frames=frames,
        actions=actions,
        rewards=(where[:, 0] / SIDE).astype(np.float32),
        terminated=np.zeros(LENGTH, dtype=bool),
    )
    return episode, masks


@pytest.fixture(scope="session")
def stored():
    episodes, masks = zip(*(_episode(k) for k in range(EPISODES)), strict=True)
    return Stored(list(episodes), list(masks), {"config": {"render_quality": "none"}})


@pytest.fixture(scope="session")
def spec(stored, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    save(path, stored)
    return JobSpec(
        arm="default", task="squares", seed=0, data=str(path), preset="tiny", updates=4,
        evaluations=2, batch_size=2, sequence_length=6, per_episode=2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def change():
    return replace
