"""Training a world model from a stored dataset, without an environment.

Windows come from the training episodes only; the losses on windows of held-out episodes are
measured every ``eval_every`` updates, always on the same windows, with mean latents and without
annealing. Checkpoints are those of a training run, so whatever takes a run takes the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.presets import agent_preset
from aime_agent.agents.randomness import seeded
from aime_agent.data.dataset import DatasetInfo, open_described
from aime_agent.data.splits import EpisodeSet, Split, fingerprint
from aime_agent.errors import CheckpointError, ConfigError, DataError
from aime_agent.structs import Batch
from aime_agent.training import checkpoint
from aime_agent.training.averages import Averages
from aime_agent.training.checkpoint import Checkpoint
from aime_agent.training.config import RunConfig
from aime_agent.training.interrupts import Wish, listening
from aime_agent.training.learning import Clock, Learning, passed
from aime_agent.training.loggers import (
    Logger,
    Record,
    logger_lengths,
)
from aime_agent.training.runfolder import RunFolder, machine, warn_if_changed
from aime_agent.training.seeding import numpy_rng
from aime_agent.world_model.presets import preset as model_preset


@dataclass(frozen=True, kw_only=True)
class OfflineConfig(RunConfig):
    """All settings of offline training.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    changeable: ClassVar[frozenset[str]] = RunConfig.changeable | {
        "dataset",
        "updates",
        "eval_every",
    }
    least: ClassVar[Mapping[str, int]] = MappingProxyType(
        {**RunConfig.least, "updates": 1, "split_seed": 0, "eval_every": 0, "eval_windows": 1}
    )

    dataset: str
    """Folder of a dataset, or a run whose replay to learn from."""
    updates: int = 10_000
    """Gradient updates in all."""
    held_out: float = 0.2
    """Share of the episodes that is not trained on, 0 to 0.5."""
    split_seed: int = 0
    """Chooses them."""
    eval_every: int = 500
    """Updates between two measurements on held-out episodes; 0 for none."""
    eval_windows: int = 32
    """Windows of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.held_out <= 0.5:
            raise ConfigError(
                f"OfflineConfig.held_out must lie between 0 and 0.5, found {self.held_out}"
            )

    @property
    def run_name(self) -> str:
        """Default name of the run folder."""
        return f"{Path(self.dataset).resolve().name}-{self.preset}-world-model-s{self.seed}"


def spec(config: OfflineConfig, split: Split) -> AgentSpec:
    """Returns what an agent for the world that a dataset shows is made of.

    Raises:
        DataError: the frames are not square RGB pictures of a size that a model takes.
        ConfigError: a setting is unknown, or contradicts the dataset.
    """
    layout = split.train.store.layout
    height, width, channels = layout.frame_shape
    if height != width or channels != 3 or height < 32:
        raise DataError(
            f"{config.dataset}: square frames of at least 32 × 32 with 3 channels required, found "
            f"{list(layout.frame_shape)} (import scales frames with --image-size)"
        )
    fixed = {"action_dim": layout.action_dim, "image_size": height}
    for name, value in fixed.items():
        if config.world_model.get(name, value) != value:
            raise ConfigError(
                f"world_model.{name} must be {value} as in {config.dataset}, found "
                f"{config.world_model[name]!r}"
            )
    world = model_preset(config.preset, **{**config.world_model, **fixed})
    info = open_described(config.dataset).info or DatasetInfo(
        task="unknown", policy="unknown", image_size=height
    )
    return AgentSpec(
        task=info.task,
        preset=config.preset,
        seed=config.seed,
        action_repeat=info.action_repeat,
        image_size=height,
        camera_id=0 if info.camera_id is None else info.camera_id,
        render_quality=info.render_quality,
        world_model=world,
        agent=agent_preset(config.preset, **config.agent),
    )


class OfflineTrainer:
    """Runs, measures, saves and continues offline training.

    Args:
        config: Settings of the run.
        agent: Whose world model learns.
        split: Training and held-out episodes.
        run: Where everything is written.
        loggers: Where metrics go.
    """

    def __init__(
        self,
        config: OfflineConfig,
        agent: AimeAgent,
        split: Split,
        run: RunFolder[OfflineConfig],
        loggers: list[Logger],
    ) -> None:
        self.config = config
        self.agent = agent
        self.split = split
        self.run_folder = run
        self.loggers = loggers
        self.learning = Learning(
            config, agent, agent.update_world_model, split.train, loggers, self._log
        )
        self._clock = Clock()
        self._last_mark = (0.0, 0)
        self._saved = -1

    def run(self) -> bool:
        """Trains until ``config.updates``; returns False if a signal ended it earlier.

        Raises:
            CheckpointError: the disk is full.
        """
        c, learning, wish = self.config, self.learning, Wish()
        self._clock.start()
        with listening(wish), checkpoint.explained_full_disk("training"):
            while learning.updates < c.updates and not wish:
                before = learning.updates
                learning.update()
                end = learning.updates == c.updates
                if c.eval_every and (end or passed(before, learning.updates, c.eval_every)):
                    self._measure()
                if end or passed(before, learning.updates, c.checkpoint_every):
                    self.save()
            if self._saved != learning.updates:
                self.save()
        return learning.updates >= c.updates

    def save(self) -> Path:
        """Writes a checkpoint, then deletes old ones."""
        trainer = {
            **self.learning.state(),
            "frames": 0,
            "episodes": {name: list(some.spans) for name, some in self.split._asdict().items()},
            "fingerprint": fingerprint(self.split),
            "logs": logger_lengths(self.loggers),
            "config_hash": self.config.fixed_hash(),
            "machine": machine(),
            "clock": {"elapsed": self._clock.seconds()},
        }
        acting = {"torch_rng": torch.get_rng_state()}
        updates = self.learning.updates
        folder = checkpoint.save(
            self.run_folder.checkpoints / f"step_{updates:09d}",
            Checkpoint(self.agent.state_dict(), acting, self.agent.config_dict(), trainer),
        )
        checkpoint.prune(self.run_folder.path, self.config.keep_checkpoints)
        self._saved = updates
        return folder

    def restore(self, saved: Checkpoint) -> None:
        """Goes back to a checkpoint; the loggers were opened at it already.

        Raises:
            CheckpointError: it belongs to other settings or to another agent.
        """
        state = saved.trainer
        if state["config_hash"] != self.config.fixed_hash():
            raise CheckpointError("the checkpoint was made with other settings than config.json")
        warn_if_changed(state["machine"])
        self.learning.restore(state)
        self.agent.load_state_dict(saved.agent)
        elapsed = state["clock"]["elapsed"]
        self._clock = Clock(elapsed)
        self._last_mark = (elapsed, self.learning.updates)
        self._saved = self.learning.updates

    def close(self) -> None:
        """Closes the logs."""
        for logger in self.loggers:
            logger.close()

    def _measure(self) -> None:
        if len(self.split.held_out):
            self._log("held_out", held_out_losses(self.agent, self.split.held_out, self.config))

    def _log(self, kind: str, values: Mapping[str, float]) -> None:
        now, updates = self._clock.seconds(), self.learning.updates
        then, before = self._last_mark
        clock = {"elapsed": now}
        if kind == "train":
            clock["updates_per_second"] = (updates - before) / max(now - then, 1e-9)
            self._last_mark = (now, updates)
        record = Record(kind, updates, 0, values, clock)
        for logger in self.loggers:
            logger.log(record)


def held_out_losses(
    agent: AimeAgent, episodes: EpisodeSet, config: OfflineConfig
) -> dict[str, float]:
    """Mean losses over fixed windows, by name: ``total``, ``task/…`` and ``loss/…``.

    They depend on the weights and the split alone, so runs with one ``split_seed`` compare.
    """
    rng = numpy_rng(config.split_seed, "held out windows")
    windows = episodes.sample(config.eval_windows, config.sequence_length, rng)
    means = Averages()
    with seeded(config.split_seed, "held out", 0, agent.device):
        for one in zip(*windows, strict=True):
            means.add(agent.measure_world_model(Batch(*(x[None].to(agent.device) for x in one))))
    return means.take()
