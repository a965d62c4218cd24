"""A world model fitted to stored episodes, to see what its slots and maps learn.

No actor, no online data: windows of the episodes, in an order that (seed, update) decides, so that
two settings with one seed see the same windows.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from aime_agent.agents.learner import WorldModelLearner, sequence_data
from aime_agent.agents.presets import agent_preset
from aime_agent.agents.randomness import seeded
from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError
from aime_agent.training.seeding import numpy_rng
from aime_agent.training.segmented import SegmentedEpisodes
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

_CPU = torch.device("cpu")
_BEGIN_FRAMES = 512


@dataclass(frozen=True, kw_only=True)
class ObjectFitConfig:
    """How a world model is fitted.

    Raises:
        ConfigError: a count is below 1.
    """

    updates: int
    preset: str = "small"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `WorldModelConfig` that differ from the preset's."""
    batch_size: int = 8
    sequence_length: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "sequence_length"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"ObjectFitConfig.{name} must be at least 1, found {getattr(self, name)}"
                )


class ObjectFit(NamedTuple):
    """What came out."""

    model: AimeWorldModel
    cpu_seconds: float
    """Processor time of sampling and updates."""


def fit_world_model(data: SegmentedEpisodes, config: ObjectFitConfig) -> ObjectFit:
    """Fits a new world model; the labels of ``data`` are not read.

    Raises:
        ConfigError: a setting is unknown or cannot work.
    """
    size, width = data.frames.shape[2], data.actions.shape[-1]
    world = preset(config.preset, image_size=size, action_dim=width, **config.settings)
    training = agent_preset(config.preset, schedule={"total_steps": config.updates})
    with seeded(config.seed, "object weights", 0, _CPU):
        model = AimeWorldModel(world)
    learner = WorldModelLearner(model, training)
    with TemporaryDirectory(prefix="aime-objects-") as scratch:
        replay = _replay(data, Path(scratch))
        frames = replay.frames(_BEGIN_FRAMES, numpy_rng(config.seed, "object begin"))
        with seeded(config.seed, "object begin", 0, _CPU):
            model.begin(frames)
            learner.restart_average()
        start = time.process_time()
        for step in range(config.updates):
            rng = numpy_rng(config.seed, "object batch", step)
            batch = replay.sample(config.batch_size, config.sequence_length, rng)
            with seeded(config.seed, "object update", step, _CPU):
                learner.update(sequence_data(model, batch, training), step)
        spent = time.process_time() - start
    return ObjectFit(model.eval(), spent)


def _replay(data: SegmentedEpisodes, scratch: Path) -> ReplayBuffer:
    layout = plan_layout(data.frames.shape[2:], data.actions.shape[-1], 1, None)
    replay = ReplayBuffer(ShardStore(scratch, layout))
    for frames, actions, rewards in zip(data.frames, data.actions, data.rewards, strict=True):
        ends = np.zeros(len(frames), bool)
        replay.add_episode(
            0, Episode(frames=frames, actions=actions, rewards=rewards, terminated=ends)
        )
    return replay
