"""What is timed of this package: an agent on a replay full of noise."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aime_agent.agents.aime import AimeAgent
from aime_agent.agents.learner import sequence_data
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.storage import ShardStore
from aime_agent.training.config import TrainConfig
from aime_agent.training.runfolder import resolve
from aime_agent.world_model.state import bare_belief

ROWS = 2048
STEP = 10_000
"""The update that is timed: all schedules have arrived."""
DREAM_STEPS = 15
"""Of the dream that is timed, however short the agent's own are."""


class Ours:
    """An agent, its replay, and the pieces of work that are timed."""

    def __init__(self, run, preset, action_dim):
        self.settings, self.agent = make_agent(run, preset, action_dim)
        world = self.agent.config.world_model
        before = resident()
        self.folder = tempfile.TemporaryDirectory(prefix="aime-speed-")
        shape = (world.image_size, world.image_size, 3)
        layout = plan_layout(shape, world.action_dim, 1, None)
        self.replay = ReplayBuffer(ShardStore(Path(self.folder.name), layout))
        self.rng = np.random.default_rng(0)
        self._fill(shape, world.action_dim)
        self.memory = self._memory(before, ROWS * int(np.prod(shape)))
        self.agent.begin(self.replay.frames(512, self.rng))
        self.data = self._data()
        _, self.beliefs, _ = self.agent.learner.update(self.data, STEP)
        self.state = self.agent.initial_state(1)
        self.frame = self.rng.integers(0, 256, (1, *shape), dtype=np.uint8)

    def _fill(self, shape, action_dim):
        for row in range(ROWS):
            frame = self.rng.integers(0, 256, shape, dtype=np.uint8)
            action = self.rng.uniform(-1, 1, action_dim).astype(np.float32)
            self.replay.add(0, frame, action, float(row % 3 == 0), False, row % 500 == 0)
        self.replay.store.sync()

    def sample(self):
        """Draws one batch of the replay."""
        return self.replay.sample(self.settings.batch_size, self.settings.sequence_length, self.rng)

    def _data(self):
        return sequence_data(self.agent.world_model, self.sample(), self.agent.config.agent)

    def train_step(self):
        """Sampling, fit, backward, optimiser and average of the world model."""
        self.agent.learner.update(self._data(), STEP)

    def whole_update(self):
        """The same, then one step of actor and critic."""
        self.agent.update(self.sample(), STEP)

    def starts(self):
        """All beliefs of a batch, flat."""
        state = self.beliefs.state
        leaves = (state.hidden, state.cell, self.beliefs.z, self.beliefs.context_hat)
        return bare_belief(*(x.flatten(0, 1) for x in leaves))

    def dream(self):
        """Imagined steps from all beliefs of a batch, without a graph."""
        with torch.no_grad():
            self.agent.behaviour.dream(self.starts(), DREAM_STEPS)

    def dream_with_graph(self):
        """The same with the graph that the pathwise actor gradient needs."""
        self.agent.world_model.requires_grad_(False)
        self.agent.behaviour.dream(self.starts(), DREAM_STEPS)
        self.agent.world_model.requires_grad_(True)

    def act(self):
        """One action for one environment."""
        first = np.zeros(1, dtype=bool)
        _, self.state = self.agent.act(self.frame, self.state, first, STEP)

    def timed(self):
        """Workloads by name."""
        return {
            "train_step": self.train_step,
            "whole_update": self.whole_update,
            "dream": self.dream,
            "dream_with_graph": self.dream_with_graph,
            "act": self.act,
            "sample": self.sample,
        }

    def _memory(self, before, raw):
        """Bytes of the replay per byte of its raw frames: allocated on disk, and in memory."""
        for _ in range(50):
            self.sample()
        files = [p for p in Path(self.folder.name).rglob("*") if p.is_file()]
        growth = {name: size - before[name] for name, size in resident().items()}
        return {
            "raw_frame_bytes": raw,
            "disk_ratio": sum(p.stat().st_blocks * 512 for p in files) / raw,
            "resident_ratio": growth["RssAnon"] / raw,
            "page_cache_ratio": growth["RssFile"] / raw,
        }

    def close(self):
        """Deletes the replay."""
        self.replay.store.close()
        self.folder.cleanup()


class CountCalls(TorchDispatchMode):
    """Counts calls of aten operators, those of the backward pass included."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += func.namespace == "aten"
        return func(*args, **(kwargs or {}))


def aten_calls(work):
    """Returns how many aten operators ``work`` calls."""
    with CountCalls() as counter:
        work()
    return counter.calls


def top_operations(work, count=15):
    """Returns the operators that take most time themselves, and the calls on all levels."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        work()
    table = profiler.key_averages()
    rows = sorted(table, key=lambda e: -e.self_cpu_time_total)[:count]
    return {
        "operations": [
            {"name": e.key, "calls": e.count, "self_ms": e.self_cpu_time_total / 1000} for e in rows
        ],
        "aten_calls_on_all_levels": sum(e.count for e in table if e.key.startswith("aten::")),
    }


def make_agent(run, preset, action_dim):
    """Returns the settings and the agent of a run, or of a preset."""
    if run is None:
        settings = TrainConfig(task="walker-walk", preset=preset)
        return settings, AimeAgent.create(settings, action_dim)
    folder, _ = resolve(run)
    return folder.read_config(), AimeAgent.from_pretrained(run)


def resident():
    """Bytes of this process in memory: of its own, and of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: 1024 * int(found[name].split()[0]) for name in ("RssAnon", "RssFile")}
