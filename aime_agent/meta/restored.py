"""A meta-trained policy back from disk, with tasks that it was not trained on."""

from pathlib import Path
from typing import Any, NamedTuple

from aime_agent.configs import from_dict, override, to_dict
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.families import TaskFamily
from aime_agent.meta.named import family_by_name
from aime_agent.meta.trainer import EnhancedMAMLTrainer, newest
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.training.checkpoint import load
from aime_agent.training.evaluate import versions


class Restored(NamedTuple):
    """What adaptation needs."""

    policy: EnhancedMetaLearningPolicy
    family: TaskFamily
    """Its tasks to test with."""
    config: EnhancedMetaLearningConfig
    checkpoint: str
    iteration: int

    def untrained(self) -> EnhancedMetaLearningPolicy:
        """Returns the policy that training began with."""
        return EnhancedMAMLTrainer(self.config, task_distribution=self.family).policy

    def facts(self) -> dict[str, Any]:
        """Returns what figures must say of where they come from."""
        return {
            "family": self.family.name,
            "checkpoint": self.checkpoint,
            "iteration": self.iteration,
            "config": to_dict(self.config),
            "versions": versions(),
        }


def restore(
    path: Path,
    seed: int,
    steps: int,
    episodes: int | None = None,
    adaptation_lr: float | None = None,
) -> Restored:
    """Reads a run folder of ``meta train``, or one of its checkpoints.

    Args:
        path: Where it is.
        seed: Of the tasks that are drawn.
        steps: Inner steps to come.
        episodes: Before each of them; None for as many as in training.
        adaptation_lr: Their size; None for that of the training.

    Raises:
        CheckpointError: there is none, or it is damaged.
        ConfigError: it was trained on a family without a name.
    """
    folder = path if path.name.startswith("checkpoint_") else newest(path / "checkpoints")
    saved = load(folder)
    trained = from_dict(EnhancedMetaLearningConfig, saved.agent_config["config"])
    changes: dict[str, Any] = {"adaptation_steps": steps, "device": "cpu"}
    if episodes is not None:
        changes["support_episodes"] = episodes
    if adaptation_lr is not None:
        changes["adaptation_lr"] = adaptation_lr
    config = override(trained, **changes)
    family = family_by_name(saved.trainer["family"], "test", seed, config.max_episode_steps)
    trainer = EnhancedMAMLTrainer(config, task_distribution=family)
    trainer.load_checkpoint(folder)
    fresh = family_by_name(family.name, "test", seed, config.max_episode_steps)
    return Restored(trainer.policy, fresh, config, str(folder), trainer.iteration)
