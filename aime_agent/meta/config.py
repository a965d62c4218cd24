"""`EnhancedMetaLearningConfig`: the third seed's settings with its defaults, and what it left open."""

from dataclasses import dataclass, field

import torch

from aime_agent.errors import ConfigError, nearest
from aime_agent.layers.conditioning import FUSIONS
from aime_agent.layers.query_attention import ATTENTIONS
from aime_agent.policies.meta_policy import INNER_PARAMS

BASELINES = ("linear", "leave_one_out", "value")
OBJECTIVES = ("mean", "risk_seeking")


@dataclass(frozen=True, kw_only=True)
class EnhancedMetaLearningConfig:
    """How a policy is meta-trained.

    The first 24 fields are the seed's, with its defaults.

    Args:
        meta_lr: Learning rate of Adam over tasks (outer loop).
        adaptation_lr: Step size within a task (inner loop).
        adaptation_steps: Inner steps.
        tasks_per_batch: Tasks of one meta-update.
        num_attention_heads: Heads of the task query.
        fusion_type: ``attention``, ``gating``, ``bilinear`` or ``film``.
        use_hierarchical_encoding: Learned pooling of the task's trajectories.
        policy_loss_weight: Of the surrogate.
        value_loss_weight: Of the value's squared error.
        complexity_loss_weight: Of the predicted size (for control: return) of what is written.
        convergence_loss_weight: Of the predicted share of steps to the end.
        attention_entropy_weight: Added to the loss times H / log n: more of it focuses, less than
            0 spreads.
        support_episodes: Episodes before each inner step.
        query_episodes: Episodes after the last, which the outer loop learns from.
        max_episode_steps: An episode is cut after so many steps.
        meta_iterations: Meta-updates of `train()`.
        use_intrinsic_rewards: Whether laws that are new within a task earn more in training.
        intrinsic_weight: How much the first of its kind earns; the n-th gets 1/√n of it.
        log_dir: Metrics, TensorBoard events, attention maps.
        checkpoint_dir: Checkpoints.
        use_wandb: Also log to Weights & Biases, where it is installed and WANDB_MODE or
            WANDB_API_KEY is set.
        device: Where the policy computes.
        save_attention_maps: Whether attention is drawn.
        attention_save_interval: Every so many iterations.
        attention: ``query`` over many tokens; ``single_key`` over their mean, which is pooling.
        hidden_dim: Width of the policy that the trainer builds; 64 suits a CPU, the seed's 256 a GPU.
        seed: Decides everything random.
        second_order: Whether the meta-gradient goes through the inner gradients; None for only on
            an accelerator.
        inner_params: What adapts: ``all``, ``heads``, or the ``context`` vector.
        support_loss_weight: How much the outer loss also counts the episodes before the last inner
            step (Antoniou et al., 2019, multi-step loss); 0 leaves the starting point free to play
            as badly as it likes.
        outer_epochs: Passes over the collected episodes per meta-update.
        clip_ratio: Clip of the outer surrogate (PPO).
        policy_entropy_weight: Bonus for undecided actions; not attention's.
        baseline: ``linear`` in time features, ``leave_one_out`` mean of returns, or the ``value`` head.
        discount: γ.
        gae_lambda: λ of generalised advantages.
        objective: ``mean``, or ``risk_seeking``: only the best share of episodes is learned from.
        risk: That share.
        context_episodes: Episodes that the policy is told of; 0 tells it nothing.
        context_rewards: Whether it is told their rewards.
        max_grad_norm: Largest norm of a meta-gradient.
        checkpoint_every: Iterations between two checkpoints.
    """

    meta_lr: float = 0.0003
    adaptation_lr: float = 0.01
    adaptation_steps: int = 5
    tasks_per_batch: int = 10
    num_attention_heads: int = 4
    fusion_type: str = "attention"
    use_hierarchical_encoding: bool = True
    policy_loss_weight: float = 1.0
    value_loss_weight: float = 0.5
    complexity_loss_weight: float = 0.1
    convergence_loss_weight: float = 0.1
    attention_entropy_weight: float = 0.01
    support_episodes: int = 10
    query_episodes: int = 10
    max_episode_steps: int = 200
    meta_iterations: int = 1000
    use_intrinsic_rewards: bool = True
    intrinsic_weight: float = 0.2
    log_dir: str = "./enhanced_meta_logs"
    checkpoint_dir: str = "./enhanced_meta_checkpoints"
    use_wandb: bool = True
    device: str = field(default_factory=lambda: "cuda" if torch.cuda.is_available() else "cpu")
    save_attention_maps: bool = True
    attention_save_interval: int = 100
    attention: str = "query"
    hidden_dim: int = 64
    seed: int = 0
    second_order: bool | None = None
    inner_params: str = "all"
    support_loss_weight: float = 0.0
    outer_epochs: int = 1
    clip_ratio: float = 0.2
    policy_entropy_weight: float = 0.0
    baseline: str = "linear"
    discount: float = 0.99
    gae_lambda: float = 1.0
    objective: str = "mean"
    risk: float = 0.25
    context_episodes: int = 3
    context_rewards: bool = True
    max_grad_norm: float = 1.0
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                found = getattr(self, name)
                raise ConfigError(f"no {name} is named {found!r}. {nearest(str(found), known)}")
        for name, least in _COUNTS.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, found {getattr(self, name)}")
        for name in ("meta_lr", "adaptation_lr", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, found {getattr(self, name)}")
        if not 0.0 < self.risk <= 1.0:
            raise ConfigError(f"risk must lie in (0, 1], found {self.risk}")

    @property
    def differentiates_twice(self) -> bool:
        """Whether the meta-gradient is of second order."""
        return self.device != "cpu" if self.second_order is None else self.second_order


_CHOICES = {
    "fusion_type": tuple(FUSIONS),
    "attention": tuple(ATTENTIONS),
    "inner_params": INNER_PARAMS,
    "baseline": BASELINES,
    "objective": OBJECTIVES,
}
_COUNTS = {
    "adaptation_steps": 0,
    "context_episodes": 0,
    "tasks_per_batch": 1,
    "num_attention_heads": 1,
    "support_episodes": 1,
    "query_episodes": 1,
    "max_episode_steps": 1,
    "meta_iterations": 1,
    "attention_save_interval": 1,
    "hidden_dim": 2,
    "outer_epochs": 1,
    "checkpoint_every": 1,
}
