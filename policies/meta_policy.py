"""`EnhancedMetaLearningPolicy`: a task embedding asks where to look, and the policy acts on what it sees.

    t = encoder(trajectories) + c            c: a vector that may adapt alone (Zintgraf et al., 2019)
    r = attention(queries of [t; state], tokens)
    f = fusion(t, r);   policy, value, complexity and convergence from MLP([f; state])

Keys and values are many tokens (`aime_agent.policies.tokens`), not one: over a single key every
weight would be 1. The same policy acts with masked tokens of a law, or with Gaussian actions on
slots or states. A *task context* is [J, T, F]: trajectories of (observation, action, reward, done,
valid). Shapes: B batch, O observation, A actions, J trajectories, T steps, H width, N tokens.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.returns import symexp
from aime_agent.layers.conditioning import make_fusion
from aime_agent.layers.mlp import MLP
from aime_agent.layers.query_attention import Attended, TaskQueryAttention, attention_entropy
from aime_agent.policies.task_encoder import HierarchicalTaskEncoder, TaskEncoding
from aime_agent.policies.tokens import Tokenizer, TokenSet, TreeTokenizer, tokenizer_for

_EXTRA = 3
"""Numbers of a context step beside observation and action: reward, done, valid."""
_LOCAL_QUERIES = 2
_FORBIDDEN = -1e9
_HEADS = ("policy_head", "value_head", "auxiliary_head", "log_std")
INNER_PARAMS = ("all", "heads", "context")


class Decision(NamedTuple):
    """What the policy thinks of a batch of observations."""

    policy_logits: Float[Tensor, "B A"]
    """Logits of the actions, or the mean of a Gaussian."""
    value: Float[Tensor, "B"]
    attended: Attended
    predicted_complexity: Float[Tensor, "B"]
    """Nodes of the finished law over the most; for control, return over the best."""
    predicted_convergence: Float[Tensor, "B"]
    """Steps to the end over the most."""


class EnhancedMetaLearningPolicy(nn.Module):
    """Meta-policy with task-query attention.

    Args:
        observation_dim: O; flat observations.
        action_dim: A; more than the environment has are always masked.
        hidden_dim: H.
        num_attention_heads: Heads of the task query; must divide H.
        fusion_type: ``attention``, ``gating``, ``bilinear`` or ``film``.
        use_hierarchical_encoding: Learned pooling of the context, and local queries beside the global.
        node_feature_dim: Numbers per node of a flat tree.
        tokenizer: What cuts observations into tokens; None for nodes of a tree.
        attention: Attention of your own, called like `TaskQueryAttention`; None for that.
        continuous: Gaussian actions instead of tokens.

    Raises:
        ConfigError: sizes do not fit, or the fusion is unknown.
    """

    def __init__(  # noqa: PLR0913  (the seed's signature)
        self,
        observation_dim: int = 128,
        action_dim: int = 50,
        hidden_dim: int = 256,
        num_attention_heads: int = 8,
        fusion_type: str = "attention",
        use_hierarchical_encoding: bool = True,
        node_feature_dim: int = 8,
        *,
        tokenizer: Tokenizer | None = None,
        attention: nn.Module | None = None,
        continuous: bool = False,
    ) -> None:
        super().__init__()
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.hidden_dim, self.continuous = hidden_dim, continuous
        self.use_hierarchical_encoding = use_hierarchical_encoding
        self.tokenizer = tokenizer or TreeTokenizer(observation_dim, hidden_dim, node_feature_dim)
        if (self.tokenizer.observation_dim, self.tokenizer.dim) != (observation_dim, hidden_dim):
            raise ConfigError(
                f"tokenizer must take {observation_dim} numbers and give width {hidden_dim}, found "
                f"{self.tokenizer.observation_dim} and {self.tokenizer.dim}"
            )
        step_dim = hidden_dim + action_dim + _EXTRA - 1
        self.task_encoder = HierarchicalTaskEncoder(step_dim, hidden_dim, use_hierarchical_encoding)
        self.context_vector = nn.Parameter(torch.zeros(hidden_dim))
        queries = 1 + _LOCAL_QUERIES * use_hierarchical_encoding
        self.queries = nn.Parameter(0.1 * torch.randn(queries, hidden_dim))
        self.ask = nn.Linear(2 * hidden_dim, hidden_dim)
        self.attention = attention or TaskQueryAttention(hidden_dim, num_attention_heads)
        self.read = nn.Linear(queries * hidden_dim, hidden_dim)
        self.fusion = make_fusion(fusion_type, hidden_dim)
        self.trunk = MLP(2 * hidden_dim, hidden_dim)
        self.policy_head = nn.Linear(hidden_dim, action_dim)
        self.value_head = nn.Linear(hidden_dim, 1)
        self.auxiliary_head = nn.Linear(hidden_dim, 2)
        self.log_std = nn.Parameter(torch.full((action_dim,), -0.5)) if continuous else None
        for head in (self.policy_head, self.value_head, self.auxiliary_head):
            nn.init.orthogonal_(head.weight, gain=0.01)
            nn.init.zeros_(head.bias)

    @property
    def context_dim(self) -> int:
        """F, the numbers of a context's step."""
        return self.observation_dim + self.action_dim + _EXTRA

    def empty_context(self) -> Float[Tensor, "1 1 1 F"]:
        """Returns the context of a task of which nothing is known."""
        return self.context_vector.new_zeros(1, 1, 1, self.context_dim)

    def forward(
        self,
        obs: Float[Tensor, "B O"],
        task_context: Float[Tensor, "C J T F"],
        return_attention: bool = False,
    ) -> dict[str, Any]:
        """Returns logits, value, auxiliary predictions and, if asked for, attention weights.

        Args:
            obs: Flat observations.
            task_context: One per observation, or one for all.
            return_attention: Whether weights [B, heads, Q, N] are in the result; None otherwise.

        Raises:
            ShapeError: neither B contexts nor one, or steps of another width.
        """
        decision = self.decide(obs, self._encode(task_context).task_embedding)
        return {
            "policy_logits": decision.policy_logits,
            "value": decision.value,
            "attention_weights": decision.attended.weights if return_attention else None,
            "auxiliary_outputs": {
                "predicted_complexity": decision.predicted_complexity,
                "predicted_convergence": decision.predicted_convergence,
            },
            "decision": decision,
        }

    def encode_task(self, task_trajectories: Float[Tensor, "C J T F"]) -> dict[str, Tensor]:
        """Returns the task's embedding; with hierarchical encoding also what it is made from.

        Args:
            task_trajectories: A context, or observations alone (F = O): then every step counts.
        """
        encoding = self._encode(task_trajectories)
        if not self.use_hierarchical_encoding:
            return {"task_embedding": encoding.task_embedding}
        return encoding._asdict()

    def decide(self, obs: Float[Tensor, "B O"], task_embedding: Float[Tensor, "C H"]) -> Decision:
        """Acts for tasks that are already encoded (one embedding serves the whole batch)."""
        if len(task_embedding) not in (1, len(obs)):
            raise ShapeError(
                f"task_context needs 1 or {len(obs)} tasks, found {len(task_embedding)}"
            )
        task = (task_embedding + self.context_vector).expand(len(obs), -1)
        seen = self.tokenizer(obs)
        attended = self._attend(task, seen)
        fused = self.fusion(task, self.read(attended.features.flatten(1)))
        hidden = self.trunk(torch.cat([fused, seen.state], dim=-1))
        complexity, convergence = torch.sigmoid(self.auxiliary_head(hidden)).unbind(-1)
        value = symexp(self.value_head(hidden)[:, 0])
        return Decision(self.policy_head(hidden), value, attended, complexity, convergence)

    def distribution(
        self, policy_logits: Float[Tensor, "B A"], action_mask: Float[Tensor, "B A"] | None = None
    ) -> Distribution:
        """Returns what actions are drawn from; the same when acting and in every loss.

        Args:
            policy_logits: Of `forward`.
            action_mask: 0 where an action is forbidden; other numbers weigh it (a prior).
        """
        if self.log_std is not None:
            std = self.log_std.clamp(-4.0, 1.0).exp().expand_as(policy_logits)
            return Independent(Normal(policy_logits, std, validate_args=False), 1)
        if action_mask is not None:
            allowed = action_mask.clamp_min(1e-30).log()
            policy_logits = policy_logits + torch.where(action_mask > 0, allowed, _FORBIDDEN)
        return Categorical(logits=policy_logits, validate_args=False)

    @torch.no_grad()
    def act(
        self,
        obs: Tensor | np.ndarray,
        task_context: Float[Tensor, "C J T F"],
        action_mask: Tensor | np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Chooses for one observation [O].

        Returns:
            The action (an int, or a vector for Gaussian actions), and ``value``, ``log_prob``,
            ``attention_entropy`` and ``attention_weights`` [N], the mean over heads and queries.
        """
        device = self.context_vector.device
        batch = torch.as_tensor(obs, dtype=torch.float32, device=device).reshape(1, -1)
        decision = self.decide(batch, self._encode(task_context).task_embedding)
        mask = None if action_mask is None else self.padded_mask(action_mask)
        chances = self.distribution(decision.policy_logits, mask)
        action = chances.mode if deterministic else chances.sample()
        weights, there = decision.attended.weights, decision.attended.mask
        info = {
            "value": float(decision.value),
            "log_prob": float(chances.log_prob(action)),
            "attention_entropy": float(attention_entropy(weights, there, normalized=False).mean()),
            "attention_weights": weights.mean(dim=(1, 2))[0].cpu().numpy(),
        }
        return (action[0].cpu().numpy() if self.continuous else int(action)), info

    def padded_mask(self, action_mask: Tensor | np.ndarray) -> Float[Tensor, "B A"]:
        """Returns masks or priors [A'] or [B, A'] as [B, A]; actions beyond A' are forbidden.

        Raises:
            ShapeError: there are more than the policy has.
        """
        device = self.context_vector.device
        mask = torch.as_tensor(np.asarray(action_mask), device=device).float()
        mask = mask.reshape(-1, mask.shape[-1])
        if mask.shape[1] > self.action_dim:
            raise ShapeError(
                f"action_dim must be at least {mask.shape[1]}, found {self.action_dim}"
            )
        return nn.functional.pad(mask, (0, self.action_dim - mask.shape[1]))

    @torch.no_grad()
    def get_attention_stats(
        self, obs: Float[Tensor, "B O"], task_context: Float[Tensor, "C J T F"]
    ) -> dict[str, np.ndarray]:
        """Returns where the policy looks, as arrays.

        ``attention_weights`` [B, heads, Q, N]; per observation ``attention_entropy`` in nats (lower
        is more focused), ``attention_entropy_normalized`` in [0, 1], ``attention_max`` and
        ``attention_argmax`` of the mean over heads and queries.
        """
        attended = self.decide(obs, self._encode(task_context).task_embedding).attended
        weights, mask = attended.weights, attended.mask
        mean = weights.mean(dim=(1, 2))
        stats = {
            "attention_weights": weights,
            "attention_entropy": attention_entropy(weights, mask, False).mean(dim=(1, 2)),
            "attention_entropy_normalized": attention_entropy(weights, mask).mean(dim=(1, 2)),
            "attention_max": mean.amax(dim=1),
            "attention_argmax": mean.argmax(dim=1),
        }
        return {key: value.cpu().numpy() for key, value in stats.items()}

    def inner_parameters(self, which: str) -> list[str]:
        """Returns the names of the parameters that adapt: all, the heads, or the context vector.

        Frozen ones are left out.

        Raises:
            ConfigError: ``which`` is none of these, or all of them are frozen.
        """
        if which not in INNER_PARAMS:
            raise ConfigError(f"inner_params must be one of {INNER_PARAMS}, found {which!r}")
        begins = {"all": ("",), "context": ("context_vector",), "heads": _HEADS}[which]
        free = [name for name, p in self.named_parameters() if p.requires_grad]
        if not (names := [name for name in free if name.startswith(begins)]):
            raise ConfigError(f"inner_params={which!r}: nothing to adapt is left, all is frozen")
        return names

    def _attend(self, task: Float[Tensor, "B H"], seen: TokenSet) -> Attended:
        """Lets every query of the task read the tokens."""
        asked = self.ask(torch.cat([task, seen.state], dim=-1))
        return self.attention(asked[:, None] + self.queries, seen.tokens, seen.mask)

    def _encode(self, context: Float[Tensor, "C J T F"]) -> TaskEncoding:
        """Encodes contexts; observations in them are summarised as those to act on are."""
        if context.shape[-1] == self.observation_dim:
            extra = self.action_dim + _EXTRA
            context = nn.functional.pad(context, (0, extra))
            context[..., -1] = 1.0
        if context.shape[-1] != self.context_dim:
            raise ShapeError(
                f"task_context needs {self.context_dim} numbers per step (observation, action, "
                f"reward, done, valid), or {self.observation_dim} of the observation alone, found "
                f"{context.shape[-1]}"
            )
        rest = context[..., self.observation_dim : -1]
        observations = context[..., : self.observation_dim].flatten(0, 2)
        summary = self.tokenizer(observations).summary().unflatten(0, context.shape[:3])
        steps = torch.cat([summary, rest], dim=-1)
        return self.task_encoder(steps, context[..., -1] > 0.5)


def policy_for(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    **settings: Any,
) -> EnhancedMetaLearningPolicy:
    """Builds a policy that fits an environment: tokens for Discrete, Gaussian actions for Box.

    Args:
        observation_space: Of the environment, before it is flattened.
        action_space: Discrete or Box.
        **settings: Of `EnhancedMetaLearningPolicy`.

    Raises:
        ConfigError: another action space.
    """
    if not isinstance(action_space, spaces.Discrete | spaces.Box):
        raise ConfigError(f"action_space must be Discrete or Box, found {action_space}")
    continuous = isinstance(action_space, spaces.Box)
    settings.setdefault("action_dim", spaces.flatdim(action_space))
    hidden_dim = settings.setdefault("hidden_dim", 64)
    settings.setdefault("num_attention_heads", 4)
    tokenizer = tokenizer_for(observation_space, hidden_dim)
    return EnhancedMetaLearningPolicy(
        tokenizer.observation_dim, tokenizer=tokenizer, continuous=continuous, **settings
    )
