"""`train`: from a task's name to a trained agent, in one call; also what the command line calls."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from aime_agent import distributed
from aime_agent.configs import override
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import CheckpointError, ConfigError, DataError
from aime_agent.training import checkpoint
from aime_agent.training.checkpoint import Checkpoint
from aime_agent.training.collector import Collector
from aime_agent.training.config import TrainConfig
from aime_agent.training.loggers import ProgressLogger, make_loggers
from aime_agent.training.parts import Factories, Parts
from aime_agent.training.runfolder import RunFolder
from aime_agent.training.trainer import Trainer

_log = logging.getLogger(__name__)


def train(
    task: str | None = None,
    *,
    preset: str | None = None,
    frames: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    factories: Factories | None = None,
    **settings: Any,
) -> Any:
    """Trains an agent, or goes on with an interrupted run, and returns the agent.

    What is None is as `TrainConfig` says, or with ``resume`` as the run has it. Ctrl-C and SIGTERM
    save a checkpoint and then raise `KeyboardInterrupt`.

    Args:
        task: Such as ``walker-walk``; may be left out with ``resume`` and ``out``.
        preset: tiny, small, base or seed84.
        frames: Physics control steps in all; a resumed run may ask for more.
        out: Run folder; ``runs/<task>-<preset>-s<seed>`` if None.
        resume: Go on from the newest valid checkpoint in ``out``.
        seed: Decides everything random.
        factories: Other agents, environments or evaluations than the package's own.
        settings: Any further field of `TrainConfig`.

    Raises:
        ConfigError: a setting is unknown or cannot work, or ``out`` holds a run already.
        CheckpointError: nothing can be resumed, or the disk is full.
    """
    given = {"task": task, "preset": preset, "frames": frames, "seed": seed}
    changes = {k: v for k, v in given.items() if v is not None} | settings
    folder, config = _settle(changes, out, resume=resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    with Parts(config, factories) as parts:
        trainer = _resumed(parts, folder) if resume else _fresh(parts, folder)
        try:
            _start_together(trainer.frames)
            finished = trainer.run()
        finally:
            trainer.close()
    if not finished:
        raise KeyboardInterrupt(f"saved; go on with --resume --out {folder.path}")
    return trainer.agent


def _start_together(frames: int) -> None:
    """Lets several processes begin only where all of them have come to the same frame."""
    with distributed.together():
        found = distributed.gathered(torch.tensor([float(frames)])).tolist()
    if len(set(found)) > 1:
        raise CheckpointError(
            f"processes must go on from the same frame, found checkpoints at {found}; delete those "
            f"newer than {min(found):.0f} in every process's folder"
        )


def _settle(
    changes: dict[str, Any], out: str | Path | None, *, resume: bool
) -> tuple[RunFolder[TrainConfig], TrainConfig]:
    """Returns the run's folder and configuration; writes nothing for a new run."""
    if not (resume and out):
        if "task" not in changes:
            raise ConfigError("task must be given for a new run, such as 'walker-walk'")
        config = override(TrainConfig(task=changes["task"]), **changes)
        folder = RunFolder(Path(out or Path("runs") / config.run_name), TrainConfig)
    else:
        folder = RunFolder(Path(out), TrainConfig)
    changes = changes | {"out": str(folder.path)}
    if resume:
        return folder, folder.resume(changes)
    folder.require_new()
    return folder, dataclasses.replace(config, out=str(folder.path))


def _fresh(parts: Parts, folder: RunFolder[TrainConfig]) -> Trainer:
    folder.start(parts.config)
    return _assemble(parts, folder, None)


def _resumed(parts: Parts, folder: RunFolder[TrainConfig]) -> Trainer:
    """Goes back to the newest checkpoint whose files and replay rows are all intact."""
    problems: list[str] = []
    for path in checkpoint.names(folder.path):
        try:
            saved = checkpoint.load(path)
            trainer = _assemble(parts, folder, saved.trainer)
        except (CheckpointError, DataError) as error:
            _log.warning("%s; falling back to the previous checkpoint", error)
            problems.append(str(error))
            continue
        if not _restored(trainer, saved):
            _log.warning("the environments do not repeat bit for bit here; going on all the same")
        for damaged in checkpoint.names(folder.path)[: len(problems)]:
            shutil.rmtree(damaged)
        return trainer
    if problems:
        raise CheckpointError(f"{folder.path}: no checkpoint can be used: " + "; ".join(problems))
    _log.warning("%s: interrupted before its first checkpoint; starting anew", folder.path)
    folder.clear()
    return _assemble(parts, folder, None)


def _restored(trainer: Trainer, saved: Checkpoint) -> bool:
    """Restores, or closes what was opened before it failed."""
    try:
        return trainer.restore(saved)
    except BaseException:
        trainer.close()
        raise


def _assemble(
    parts: Parts, folder: RunFolder[TrainConfig], state: dict[str, Any] | None
) -> Trainer:
    """Opens replay and logs, at a checkpoint's ``state`` if there is one, and joins the parts."""
    c, lane = parts.config, parts.lanes[0]
    cap = c.replay_bytes or None
    store = ShardStore(
        folder.replay,
        plan_layout(lane.frame_shape, lane.action_dim, c.num_envs, cap),
        c.num_envs,
        max_bytes=cap,
        defer_deletion=True,
        state=None if state is None else state["replay"],
    )
    loggers = make_loggers(
        folder.metrics,
        folder.events if c.tensorboard else None,
        ProgressLogger(c.frames),
        None if state is None else state["logs"],
    )
    collector = Collector(parts.lanes, ReplayBuffer(store), c.seed)
    return Trainer(c, parts.agent, collector, folder, loggers, parts.evaluate)
