"""Settings of the agent: how the model is fitted, and how behaviour is learned in its dreams."""

from dataclasses import dataclass, field
from typing import Literal

from aime_agent.errors import ConfigError
from aime_agent.optimization.schedules import ScheduleConfig

_POSITIVE = (
    "learning_rate",
    "actor_learning_rate",
    "critic_learning_rate",
    "grad_clip",
    "slot_grad_clip",
    "behaviour_clip",
    "disc_learning_rate",
    "disc_grad_clip",
)


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Optimisers, balancing and the actor-critic.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    learning_rate: float = 1e-3
    """Of the world model."""
    grad_clip: float = 100.0
    """Largest norm of the world model's gradient."""
    slot_grad_clip: float = 100.0
    """The same for the attention pillar, whose gradients are far smaller."""
    ema_decay: float = 0.995
    """Of the averaged copy of the world model."""
    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(kl_fraction=0.0, tau_fraction=0.0, lr_warmup_steps=0)
    )
    """Warm-up and annealing; none by default."""
    disc_learning_rate: float = 2e-4
    """Of the discriminators, where the world model's adversarial task is on."""
    disc_grad_clip: float = 100.0
    """Largest norm of their gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products in a pass over frames; bfloat16 pays on a GPU alone. Losses, weights and
    dreams stay float32."""
    augment: Literal["none", "shift", "zoom"] = "none"
    """Change of whole windows of frames before the model sees them."""
    augment_probability: float = 0.6
    """Share of the windows that are changed."""
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 6e-4
    actor_units: int = 192
    """Width of the two layers of actor and critic."""
    actor_min_std: float = 0.1
    actor_max_std: float = 1.0
    """Largest standard deviation of an action. Pathwise gradients like noise that saturates the
    action, and a large one drowns the mean."""
    actor_gradient: Literal["pathwise", "reinforce"] = "pathwise"
    """Through the dream's dynamics, or by the likelihood ratio."""
    train_actor: bool = True
    """False leaves the actor as it was made: the control arm that must not learn to act."""
    dream_starts: int = 96
    """Beliefs of a batch from which dreams start."""
    dream_skip: int = 4
    """First frames of a window that no dream starts from (their belief is still forming)."""
    critic: Literal["state", "action"] = "state"
    """What values are learned: v(s) on dreams and replay, or two q(s, a) on replay alone with a
    short dream before them (`aime_agent.agents.behaviour`)."""
    behaviour_updates: int = 1
    """Steps of actor and critic for one of the world model."""
    horizon: int = 15
    """Imagined steps; 0 (critic "action" only) asks the critics alone."""
    dream_temperature: float = 1.0
    """Of the mixture prior in dreams that behaviour learns from; 0 follows the likeliest path."""
    discount_per_two_frames: float = 1 - 1 / 333
    """Discount of two physics frames; adapted to the action repeat."""
    return_lambda: float = 0.95
    """Of the λ-returns: those of dreams and replay, or with critic "action" those of replay."""
    entropy_weight: float = 3e-4
    slow_critic_rate: float = 0.02
    """How fast the slow critic follows."""
    replay_critic_weight: float = 0.3
    """Weight of the loss on replayed returns beside that on dreams; critic "action" has no other."""
    behaviour_clip: float = 100.0
    """Largest norm of the actor's and of the critic's gradient."""
    action_noise: float = 0.0
    """Standard deviation of Gaussian noise added to training actions."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            self._require(name, getattr(self, name) > 0, "positive")
        for name in ("behaviour_updates", "dream_starts", "actor_units"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("dream_skip", "entropy_weight", "replay_critic_weight", "action_noise"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("augment_probability", "return_lambda", "slow_critic_rate"):
            self._require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("discount_per_two_frames", "ema_decay"):
            self._require(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        low, high = self.actor_min_std, self.actor_max_std
        self._require("actor_max_std", 0 < low <= high, f"at least actor_min_std {low} > 0")
        self._require("dream_temperature", self.dream_temperature >= 0, "at least 0")
        for name, allowed in (
            ("critic", ("state", "action")),
            ("actor_gradient", ("pathwise", "reinforce")),
            ("augment", ("none", "shift", "zoom")),
            ("precision", ("float32", "bfloat16")),
        ):
            self._require(name, getattr(self, name) in allowed, f"one of {allowed}")
        self._check_critic()

    def discount(self, action_repeat: int) -> float:
        """Discount of one action of ``action_repeat`` physics frames."""
        return self.discount_per_two_frames ** (action_repeat / 2)

    def _check_critic(self) -> None:
        of_actions = self.critic == "action"
        least = "at least 0" if of_actions else "at least 1 with critic 'state'"
        self._require("horizon", self.horizon >= 1 - of_actions, least)
        pathwise = self.actor_gradient == "pathwise"
        what = "'pathwise' with critic 'action', whose gradient passes through the action"
        self._require("actor_gradient", pathwise or not of_actions, what)

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"AgentConfig.{name} must be {what}, found {getattr(self, name)!r}")
