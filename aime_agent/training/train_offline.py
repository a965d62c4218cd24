"""`train_world_model`: from a stored dataset to a trained world model, in one call."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aime_agent.agents.aime import AimeAgent
from aime_agent.configs import override
from aime_agent.data.splits import EpisodeSet, EpisodeSpan, Split, fingerprint, open_split
from aime_agent.errors import CheckpointError, ConfigError, DataError
from aime_agent.structs import Batch
from aime_agent.training import checkpoint
from aime_agent.training.checkpoint import Checkpoint
from aime_agent.training.loggers import UpdateProgressLogger, make_loggers
from aime_agent.training.offline import OfflineConfig, OfflineTrainer, spec
from aime_agent.training.runfolder import RunFolder
from aime_agent.training.seeding import numpy_rng
from aime_agent.world_model.model import AimeWorldModel

_log = logging.getLogger(__name__)


def train_world_model(
    dataset: str | Path | None = None,
    *,
    preset: str | None = None,
    updates: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    **settings: Any,
) -> AimeWorldModel:
    """Trains a world model on a stored dataset, or goes on, and returns it.

    ``AimeWorldModel.from_pretrained(out)`` and ``AimeAgent.from_pretrained(out)`` load the result.
    Ctrl-C and SIGTERM save a checkpoint and then raise `KeyboardInterrupt`.

    Args:
        dataset: Folder of a dataset or a run; may be left out with ``resume`` and ``out``.
        preset: tiny, small, base or seed84.
        updates: Gradient updates in all; a resumed run may ask for more.
        out: Run folder; ``runs/<dataset>-<preset>-world-model-s<seed>`` if None.
        resume: Go on from the newest valid checkpoint in ``out``.
        seed: Decides everything random but the split.
        settings: Any further field of `OfflineConfig`.

    Raises:
        ConfigError: a setting is unknown or cannot work, or ``out`` holds a run already.
        DataError: there is no dataset, it is damaged, too small, or not of the model's size.
        CheckpointError: nothing can be resumed, or the disk is full.
    """
    given = {
        "dataset": dataset and str(dataset),
        "preset": preset,
        "updates": updates,
        "seed": seed,
    }
    changes = {k: v for k, v in given.items() if v is not None} | settings
    folder, config = _settle(changes, out, resume=resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    if resume:
        trainer = _resumed(config, folder)
    else:
        split = open_split(config.dataset, config.held_out, config.split_seed)
        _refuse_misfits(config, split)
        folder.start(config)
        trainer = _assemble(config, split, folder, None)
    try:
        finished = trainer.run()
    finally:
        trainer.close()
    if not finished:
        raise KeyboardInterrupt(f"saved; go on with --resume --out {folder.path}")
    return trainer.agent.world_model.eval()


def held_out_batch(run: str | Path, windows: int, length: int, seed: int) -> Batch | None:
    """Windows of the episodes that an offline run held out; None for other runs, or without them.

    Windows are shorter than ``length`` if every such episode is.

    Raises:
        CheckpointError: the run has no readable checkpoint.
    """
    folder = checkpoint.find(run)
    trainer, home = checkpoint.load(folder).trainer, folder.parent.parent
    if "episodes" not in trainer:
        return None
    config = RunFolder(home, OfflineConfig).read_config()
    try:
        held = _stored_split(config, trainer).held_out
        if not len(held):
            return None
        length = min(length, max(span.length for span in held.spans))
        return held.sample(windows, length, numpy_rng(seed, "pillars"))
    except DataError as error:
        _log.warning("%s; playing new episodes instead", error)
        return None


def _settle(
    changes: dict[str, Any], out: str | Path | None, *, resume: bool
) -> tuple[RunFolder[OfflineConfig], OfflineConfig]:
    """Returns the run's folder and configuration; writes nothing for a new run."""
    if resume and out:
        folder = RunFolder(Path(out), OfflineConfig)
        return folder, folder.resume({**changes, "out": str(folder.path)})
    if "dataset" not in changes:
        raise ConfigError("dataset must be given for a new run: the folder of a stored dataset")
    config = override(OfflineConfig(dataset=changes["dataset"]), **changes)
    folder = RunFolder(Path(out or Path("runs") / config.run_name), OfflineConfig)
    config = dataclasses.replace(config, out=str(folder.path))
    if resume:
        return folder, folder.resume({**changes, "out": str(folder.path)})
    folder.require_new()
    return folder, config


def _refuse_misfits(config: OfflineConfig, split: Split) -> None:
    """Raises what would go wrong later, before anything is written."""
    spec(config, split)
    rng = numpy_rng(config.seed, "trial")
    split.train.sample(1, config.sequence_length, rng)
    if config.eval_every and len(split.held_out):
        split.held_out.sample(1, config.sequence_length, rng)


def _resumed(config: OfflineConfig, folder: RunFolder[OfflineConfig]) -> OfflineTrainer:
    """Goes back to the newest checkpoint that can be used."""
    problems: list[str] = []
    for path in checkpoint.names(folder.path):
        try:
            saved = checkpoint.load(path)
            trainer = _assemble(config, _stored_split(config, saved.trainer), folder, saved)
        except CheckpointError as error:
            _log.warning("%s; falling back to the previous checkpoint", error)
            problems.append(str(error))
            continue
        for damaged in checkpoint.names(folder.path)[: len(problems)]:
            shutil.rmtree(damaged)
        return trainer
    if problems:
        raise CheckpointError(f"{folder.path}: no checkpoint can be used: " + "; ".join(problems))
    _log.warning("%s: interrupted before its first checkpoint; starting anew", folder.path)
    folder.clear()
    split = open_split(config.dataset, config.held_out, config.split_seed)
    return _assemble(config, split, folder, None)


def _stored_split(config: OfflineConfig, state: Mapping[str, Any]) -> Split:
    """The episodes that a checkpoint was trained on; those added since are left alone.

    Raises:
        DataError: one of them is not in the dataset any more, or is another one.
    """
    known = open_split(config.dataset, 0.0)
    sets = {k: [EpisodeSpan(*span) for span in v] for k, v in state["episodes"].items()}
    missing = sorted({span for v in sets.values() for span in v} - set(known.train.spans))
    if missing:
        raise DataError(
            f"{config.dataset}: the episodes that the run began with required, but "
            f"{len(missing)} of them are missing, the first is {missing[0]}"
        )
    store = known.train.store
    split = Split(EpisodeSet(store, sets["train"]), EpisodeSet(store, sets["held_out"]))
    if fingerprint(split) != state["fingerprint"]:
        raise DataError(
            f"{config.dataset}: the episodes that the run began with required, found others of the "
            "same lengths; give the folder of the first dataset, or another --out"
        )
    return split


def _assemble(
    config: OfflineConfig, split: Split, folder: RunFolder[OfflineConfig], saved: Checkpoint | None
) -> OfflineTrainer:
    """Builds the agent and opens the logs, at a checkpoint if there is one."""
    agent = AimeAgent(spec(config, split), config.device)
    loggers = make_loggers(
        folder.metrics,
        folder.events if config.tensorboard else None,
        UpdateProgressLogger(config.updates),
        None if saved is None else saved.trainer["logs"],
    )
    trainer = OfflineTrainer(config, agent, split, folder, loggers)
    try:
        if saved is not None:
            trainer.restore(saved)
    except BaseException:
        trainer.close()
        raise
    return trainer
