"""`EnhancedMAMLTrainer`: meta-trains a policy so that a few inner steps adapt it to a new task.

    θ ← θ − β ∇_θ Σ_tasks L(θ_K(θ); D_K)        (Finn et al., 2017; Rothfuss et al., 2019)

Every inner step has fresh episodes of the policy that it changes; the outer loss is taken at the
adapted parameters, and its gradient goes through the adaptation (or, in first order, through the
identity). Randomness is counter-based, so a resumed run equals one that was never stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aime_agent.configs import to_dict
from aime_agent.errors import CheckpointError
from aime_agent.layers.query_attention import ATTENTIONS
from aime_agent.meta.attention_analysis import AttentionAnalyzer
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.experience import Experience, make_envs, play_task
from aime_agent.meta.families import TaskFamily, as_family, check_fit
from aime_agent.meta.inner_loop import Parameters, adaptation_path
from aime_agent.meta.journal import Journal
from aime_agent.meta.meta_loss import meta_losses, weighted
from aime_agent.meta.rollouts import Rollout, prepare_task_context
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy, policy_for
from aime_agent.symbolic.distribution import PhysicsTaskDistribution
from aime_agent.training.checkpoint import Checkpoint, load, save
from aime_agent.training.evaluate import versions
from aime_agent.training.interrupts import Wish, listening
from aime_agent.training.progress import Meter
from aime_agent.training.seeding import numpy_rng

_MOST_MAPS = 10


class EnhancedMAMLTrainer:
    """Meta-learning over a family of tasks.

    Args:
        config: Settings.
        policy: What is trained; None for one that fits the tasks.
        task_distribution: Laws of physics (the default), or any `TaskFamily`.

    Raises:
        ConfigError: the policy does not fit the environments.
    """

    def __init__(
        self,
        config: EnhancedMetaLearningConfig | None = None,
        policy: EnhancedMetaLearningPolicy | None = None,
        task_distribution: PhysicsTaskDistribution | TaskFamily | None = None,
    ) -> None:
        self.config = c = config or EnhancedMetaLearningConfig()
        self.task_distribution = task_distribution or PhysicsTaskDistribution(seed=c.seed)
        self.family = as_family(self.task_distribution, policy)
        self._envs = make_envs(self.family, max(c.support_episodes, c.query_episodes))
        self.policy = (policy or self._make_policy()).to(c.device)
        check_fit(self.policy, self._envs[0])
        self.meta_optimizer = torch.optim.Adam(self.policy.parameters(), c.meta_lr)
        self.iteration = 0
        self.attention_analyzer = AttentionAnalyzer(Path(c.log_dir) / "attention_maps")
        self.journal = Journal(c)

    @property
    def task_performance(self) -> dict[str, list[list[float]]]:
        """Per task: [iteration, return before adaptation, return after]."""
        return self.journal.task_performance

    @property
    def discovered_laws(self) -> dict[str, str]:
        """Per task: the first law that fitted its data."""
        return self.journal.discovered_laws

    def train(self, n_iterations: int | None = None) -> dict[str, float]:
        """Trains, goes on from where it is, and keeps a checkpoint; Ctrl-C ends it after the iteration.

        Args:
            n_iterations: How many more; None for what is left of ``config.meta_iterations``.

        Returns:
            The numbers of the last iteration.
        """
        c, wish, last = self.config, Wish(), dict[str, float]()
        left = c.meta_iterations - self.iteration if n_iterations is None else n_iterations
        end = self.iteration + max(0, left)
        meter = Meter(end, "iterations")
        try:
            with listening(wish):
                while self.iteration < end and not wish:
                    last = self.meta_train_step()
                    shown = (last["meta/episode_reward"], last["meta/gain"])
                    meter.show(self.iteration, "return {:.3f}  gain {:+.3f}".format(*shown))
                    if self.iteration % c.checkpoint_every == 0:
                        self.save_checkpoint()
        finally:
            meter.close()
            self.close()
        self.save_checkpoint()
        return last

    def close(self) -> None:
        """Closes the files of metrics; training on opens them again."""
        self.journal.close()

    def meta_train_step(self) -> dict[str, float]:
        """Plays a batch of tasks, takes the meta-update, and returns its numbers."""
        c = self.config
        tasks = self.family.sample_task_batch(c.tasks_per_batch)
        played = [
            play_task(self.policy, self._envs, task, c, self._seed(i))
            for i, task in enumerate(tasks)
        ]
        self.iteration += 1
        numbers = {}
        for _ in range(c.outer_epochs):
            numbers = self._update(played)
        looked = [self._look(experience) for experience in played]
        numbers["meta/attention_entropy"] = float(np.mean(looked))
        return self.journal.record(self.iteration, played, numbers)

    def prepare_task_context(self, trajectories: Rollout | Sequence[Rollout]) -> Tensor:
        """Returns the context [1, J, T, F] that episodes make, the same in acting and in losses."""
        rollouts = [trajectories] if isinstance(trajectories, Rollout) else list(trajectories)
        c = self.config
        return prepare_task_context(self.policy, rollouts, c.context_episodes, c.context_rewards)

    _prepare_task_context = prepare_task_context

    def play(self, task: Any, seed: int | None = None) -> Experience:
        """Plays and adapts to one task, and leaves the trained policy as it is."""
        drawn = self._seed(len(self._envs)) if seed is None else seed
        return play_task(self.policy, self._envs, task, self.config, drawn)

    def save_checkpoint(self, path: Path | str | None = None) -> Path:
        """Writes weights, optimiser, counters and records; None for the configured folder."""
        default = Path(self.config.checkpoint_dir) / f"checkpoint_{self.iteration}"
        folder = default if path is None else Path(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"policy.{k}": v for k, v in self.policy.state_dict().items()}
        tensors |= _adam_tensors(self.meta_optimizer)
        trainer = {"iteration": self.iteration, "versions": versions(), "family": self.family.name}
        trainer |= {"attention_evolution": self.attention_analyzer.state()}
        trainer |= self.journal.state()
        return save(folder, Checkpoint(tensors, {}, {"config": to_dict(self.config)}, trainer))

    def load_checkpoint(self, path: Path | str | None = None) -> Path:
        """Goes on from a checkpoint; None for the newest of the configured folder.

        Raises:
            CheckpointError: there is none, it is damaged, or of a policy of another shape.
        """
        folder = newest(Path(self.config.checkpoint_dir)) if path is None else Path(path)
        saved = load(folder)
        weights = {
            k.removeprefix("policy."): v for k, v in saved.agent.items() if k.startswith("policy.")
        }
        try:
            self.policy.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{folder}: made for another policy ({error})") from error
        _restore_adam(self.meta_optimizer, saved.agent)
        for _ in range(self.iteration, saved.trainer["iteration"]):
            self.family.sample_task_batch(self.config.tasks_per_batch)
        self.iteration = saved.trainer["iteration"]
        self.attention_analyzer.restore(saved.trainer["attention_evolution"])
        self.journal.restore(saved.trainer)
        return folder

    def _update(self, played: Sequence[Experience]) -> dict[str, float]:
        """Takes one step of the meta-optimiser; a task whose loss is not finite is left out."""
        c, terms = self.config, list[dict[str, float]]()
        self.meta_optimizer.zero_grad()
        for experience in played:
            path = adaptation_path(self.policy, experience.support, c, c.differentiates_twice)
            losses = meta_losses(self.policy, path[-1], experience.query, c, self._most_nodes)
            total = weighted(losses, c) + self._support_loss(path, experience)
            if not total.isfinite():
                continue
            (total / len(played)).backward()
            terms.append({"loss": float(total.detach())} | _floats(losses))
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), c.max_grad_norm)
        if norm.isfinite():
            self.meta_optimizer.step()
        mean = {key: float(np.mean([t[key] for t in terms])) for key in (terms or [{}])[0]}
        named = {f"meta/{key}_loss": value for key, value in mean.items() if key != "loss"}
        skipped = float(len(played) - len(terms))
        total_loss = mean.get("loss", float("nan"))
        return named | {
            "meta_loss": total_loss, "meta/gradient_norm": float(norm), "meta/skipped": skipped
        }  # fmt: skip

    def _support_loss(self, path: Sequence[Parameters], experience: Experience) -> Tensor:
        """Returns the mean loss of the episodes before the last inner step, weighted; 0 if unwanted."""
        c, support = self.config, experience.support
        if not support or c.support_loss_weight == 0.0:
            return torch.zeros((), device=c.device)
        each = [
            weighted(meta_losses(self.policy, parameters, rollout, c, self._most_nodes), c)
            for parameters, rollout in zip(path, support, strict=False)
        ]
        return c.support_loss_weight * torch.stack(each).mean()

    def _look(self, experience: Experience) -> float:
        """Records where the policy looks in the last episode; draws it now and then."""
        c, rollout = self.config, experience.rollouts[-1]
        seen = rollout.observations[0][rollout.valid[0]]
        stats = self.policy.get_attention_stats(seen, rollout.context)
        name = experience.task.name
        self.attention_analyzer.record_attention(name, self.iteration, stats)
        if c.save_attention_maps and self.iteration % c.attention_save_interval == 0:
            drawn = self.attention_analyzer.folder.glob(f"attention_*_{self.iteration}.png")
            if sum(1 for _ in drawn) < _MOST_MAPS:
                mean = stats["attention_weights"].mean(axis=(1, 2))
                self.attention_analyzer.save_attention_heatmap(mean, name, self.iteration)
        return float(stats["attention_entropy_normalized"].mean())

    def _make_policy(self) -> EnhancedMetaLearningPolicy:
        c, env = self.config, self._envs[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            return policy_for(
                env.unwrapped.observation_space,
                env.action_space,
                hidden_dim=c.hidden_dim,
                num_attention_heads=c.num_attention_heads,
                fusion_type=c.fusion_type,
                use_hierarchical_encoding=c.use_hierarchical_encoding,
                attention=ATTENTIONS[c.attention](c.hidden_dim, c.num_attention_heads),
            )

    @property
    def _most_nodes(self) -> int | None:
        return getattr(self._envs[0].unwrapped, "max_nodes", None)

    def _seed(self, task: int) -> int:
        return int(numpy_rng(self.config.seed, "tasks", self.iteration, task).integers(2**30))


def newest(folder: Path) -> Path:
    """Returns the newest checkpoint of a folder.

    Raises:
        CheckpointError: there is none.
    """
    found = sorted(folder.glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[-1]))
    if not found:
        raise CheckpointError(f"{folder}: a folder checkpoint_N required, found none")
    return found[-1]


def _floats(losses: dict[str, Tensor]) -> dict[str, float]:
    return {key: float(value.detach()) for key, value in losses.items()}


def _adam_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns the moments by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"adam.{i}.{key}": value for i, part in state.items() for key, value in part.items()}


def _restore_adam(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
