"""Meta-training in a second: a plane, two goals, short episodes."""

import pytest

from aime_agent.envs.navigation import NavigationTasks
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.trainer import EnhancedMAMLTrainer

TINY = {
    "tasks_per_batch": 2, "adaptation_steps": 1, "support_episodes": 3, "query_episodes": 2,
    "max_episode_steps": 4, "hidden_dim": 8, "num_attention_heads": 2, "device": "cpu",
    "adaptation_lr": 0.1, "attention_save_interval": 2, "use_wandb": False,
}  # fmt: skip


@pytest.fixture
def make_trainer(tmp_path):
    made = []

    def make(tasks=None, policy=None, **settings):
        folders = {"log_dir": str(tmp_path / "logs"), "checkpoint_dir": str(tmp_path / "saved")}
        config = EnhancedMetaLearningConfig(**(TINY | folders | settings))
        made.append(EnhancedMAMLTrainer(config, policy, tasks or NavigationTasks(0)))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()
