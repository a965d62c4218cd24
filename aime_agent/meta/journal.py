"""What a meta-training run remembers and writes: metrics, returns per task, laws that were found."""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from aime_agent.configs import to_dict
from aime_agent.data.files import write_json
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.experience import Experience
from aime_agent.training.evaluate import versions
from aime_agent.training.loggers import Logger, Record, logger_lengths, make_loggers


class Journal:
    """Numbers per iteration, and records per task.

    Args:
        config: Says where to write.
    """

    def __init__(self, config: EnhancedMetaLearningConfig) -> None:
        self.config = config
        self.task_performance: dict[str, list[list[float]]] = {}
        self.discovered_laws: dict[str, str] = {}
        self.counts = {"env_steps": 0, "evaluations": 0}
        self._loggers: list[Logger] = []
        self._lengths: dict[str, dict[str, int]] = {}

    def record(
        self, iteration: int, played: Sequence[Experience], numbers: Mapping[str, float]
    ) -> dict[str, float]:
        """Takes an iteration and returns its numbers with those of the episodes."""
        before = [float(e.rollouts[0].returns.mean()) for e in played]
        after = [float(e.rollouts[-1].returns.mean()) for e in played]
        for experience, first, last in zip(played, before, after, strict=True):
            row = [float(iteration), first, last]
            self.task_performance.setdefault(experience.task.name, []).append(row)
        for rollout in (r for e in played for r in e.rollouts):
            self.counts["env_steps"] += rollout.steps
            self.counts["evaluations"] += len(rollout.infos)
        values = dict(numbers) | {
            "meta/episode_reward": float(np.mean(after)),
            "meta/reward_before": float(np.mean(before)),
            "meta/gain": float(np.mean(after) - np.mean(before)),
            **{f"meta/{key}": float(value) for key, value in self.counts.items()},
            **self._discoveries(played),
        }
        for logger in self._open(iteration):
            logger.log(Record("train", iteration, self.counts["env_steps"], values, {}))
        return values

    def state(self) -> dict[str, Any]:
        """Returns all of it as JSON values."""
        return {
            "task_performance": self.task_performance,
            "discovered_laws": self.discovered_laws,
            "counts": self.counts,
            "lengths": logger_lengths(self._loggers) or dict(self._lengths),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned, and cuts the files to what they were."""
        self.task_performance.clear()
        self.task_performance.update(state["task_performance"])
        self.discovered_laws.clear()
        self.discovered_laws.update(state["discovered_laws"])
        self.counts.update(state["counts"])
        self.close()
        self._lengths.clear()
        self._lengths.update(state["lengths"])

    def close(self) -> None:
        """Closes the files; the next record opens them again where they end."""
        self._lengths.update(logger_lengths(self._loggers))
        for logger in self._loggers:
            logger.close()
        self._loggers.clear()

    def _discoveries(self, played: Sequence[Experience]) -> dict[str, float]:
        """Returns the share of tasks whose law was found, and the median error; nothing without laws."""
        errors, found = [], []
        for experience in played:
            infos = [i for r in experience.rollouts for i in r.infos if "nrmse" in i]
            errors += [info["nrmse"] for info in infos]
            fitting = [info["expression"] for info in infos if info["fits"]]
            found.append(bool(fitting))
            if fitting:
                self.discovered_laws.setdefault(experience.task.name, fitting[0])
        if not errors:
            return {}
        error = float(np.median(errors))
        return {"meta/discovery_success": float(np.mean(found)), "meta/discovery_nrmse": error}

    def _open(self, iteration: int) -> list[Logger]:
        """Opens the files, and goes on where they were closed."""
        if not self._loggers and self._lengths:
            self._loggers[:] = destinations(self.config, self._lengths)
        elif not self._loggers:
            facts = {"config": to_dict(self.config), "versions": versions(), "begun_at": iteration}
            folder = Path(self.config.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", facts)
            self._loggers[:] = destinations(self.config, None)
        return self._loggers


class WandbLogger:
    """Numbers to Weights & Biases.

    Args:
        config: Written with the run.
    """

    def __init__(self, config: EnhancedMetaLearningConfig) -> None:
        import wandb

        self._run = wandb.init(project="aime-agent-meta", config=to_dict(config))

    def log(self, record: Record) -> None:
        """Takes a line."""
        self._run.log(dict(record.values), step=record.update)

    def pictures(self, update: int, images: Mapping[str, UInt8[np.ndarray, "H W C"]]) -> None:
        """Leaves pictures to others."""

    def histograms(self, update: int, tensors: Mapping[str, Tensor]) -> None:
        """Leaves histograms to others."""

    def lengths(self) -> dict[str, int]:
        """Has no file of ours."""
        return {}

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def wandb_is_wanted(config: EnhancedMetaLearningConfig) -> bool:
    """Says whether numbers go to Weights & Biases: asked for, installed, and set up by its variables."""
    set_up = any(os.environ.get(name) for name in ("WANDB_MODE", "WANDB_API_KEY"))
    return config.use_wandb and set_up and find_spec("wandb") is not None


def destinations(
    config: EnhancedMetaLearningConfig, lengths: Mapping[str, Mapping[str, int]] | None
) -> list[Logger]:
    """Opens ``metrics.jsonl``, TensorBoard events, and Weights & Biases where it is wanted."""
    folder = Path(config.log_dir)
    online = WandbLogger(config) if wandb_is_wanted(config) else None
    return make_loggers(folder / "metrics.jsonl", folder, online, lengths)
