"""Who writes laws: nobody (random search), or a policy that learns from its best ones.

Risk-seeking policy gradient (Petersen et al., 2021) raises the probability of the best share ε of a
batch, weighed by how far each lies above the quantile q that bounds them,

    L = −1/n Σ_{R_i ≥ q} [(R_i − q) Σ_t log p(a_t) + λ_H Σ_t γ^t H_t],

since a search is judged by its best law, not by its mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.meta.token_policy import CONTEXT, TokenPolicy
from aime_agent.symbolic.grammar import NO_TOKEN, Draft, Grammar
from aime_agent.symbolic.tree import Tokens
from aime_agent.symbolic.vocabulary import NUM_TOKENS


@runtime_checkable
class Proposer(Protocol):
    """Writes laws of a grammar, and may learn from their rewards."""

    def propose(self, count: int) -> list[Tokens]:
        """Returns complete laws."""

    def learn(self, rewards: Float64[np.ndarray, "B"]) -> dict[str, float]:
        """Takes the rewards of the last proposal; returns numbers to log."""


class RandomProposer:
    """Draws every token from the grammar's prior, for ever the same.

    Args:
        grammar: What may be written.
        rng: Where randomness comes from.
    """

    def __init__(self, grammar: Grammar, rng: np.random.Generator) -> None:
        self._grammar = grammar
        self._rng = rng

    def propose(self, count: int) -> list[Tokens]:
        """Returns laws."""
        found = []
        for _ in range(count):
            draft = self._grammar.begin()
            while not draft.complete:
                chances = draft.options().prior.cumsum()
                draft.place(
                    int(np.searchsorted(chances, self._rng.random() * chances[-1], "right"))
                )
            found.append(draft.finished)
        return found

    def learn(self, rewards: Float64[np.ndarray, "B"]) -> dict[str, float]:
        """Learns nothing."""
        return {"reward/mean": float(rewards.mean())}


@dataclass(frozen=True, kw_only=True)
class RiskSeekingConfig:
    """How the policy learns.

    Args:
        learning_rate: Of Adam.
        risk: ε, the share of a batch that is learned from.
        entropy_weight: λ_H.
        entropy_decay: γ: entropy counts more near the root.
        hidden_dim: Size of the policy.
        embedding_dim: Size of a token's embedding.
        max_grad_norm: Largest norm of a gradient.
    """

    learning_rate: float = 5e-3
    risk: float = 0.05
    entropy_weight: float = 0.1
    entropy_decay: float = 0.7
    hidden_dim: int = 32
    embedding_dim: int = 8
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.risk <= 1.0:
            raise ConfigError(f"risk must lie in (0, 1], found {self.risk}")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be positive, found {self.learning_rate}")


class Written(NamedTuple):
    """A batch of laws as the policy saw them; beyond a law's end nothing counts."""

    tokens: Int64[Tensor, "B T"]
    contexts: Int64[Tensor, "B T 3"]
    log_prior: Float32[Tensor, "B T V"]
    valid: Bool[Tensor, "B T"]


class RiskSeekingProposer:
    """A policy that is pulled towards its own best laws.

    Args:
        grammar: What may be written.
        rng: Where randomness comes from.
        config: How it learns.
        policy: To go on with; a new one if None.
    """

    def __init__(
        self,
        grammar: Grammar,
        rng: np.random.Generator,
        config: RiskSeekingConfig | None = None,
        policy: TokenPolicy | None = None,
    ) -> None:
        self.config = c = config or RiskSeekingConfig()
        self._grammar = grammar
        self._rng = rng
        if policy is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                policy = TokenPolicy(c.hidden_dim, c.embedding_dim)
        self.policy = policy
        self._optimizer = torch.optim.Adam(policy.parameters(), c.learning_rate)
        self._last: list[Written] = []

    def propose(self, count: int) -> list[Tokens]:
        """Returns laws, and remembers how they came about."""
        drafts = [self._grammar.begin() for _ in range(count)]
        written = self._write(drafts)
        self._last[:] = [written]
        return [draft.finished for draft in drafts]

    def learn(self, rewards: Float64[np.ndarray, "B"]) -> dict[str, float]:
        """Takes one gradient step on the best of the last batch."""
        if not self._last or len(rewards) != len(self._last[0].tokens):
            raise ConfigError("learn needs one reward for each law of the last proposal")
        written = self._last.pop()
        quantile = float(np.quantile(rewards, 1.0 - self.config.risk))
        best = torch.from_numpy(np.flatnonzero(rewards >= quantile))
        chosen = Written(*(part[best] for part in written))
        advantage = torch.from_numpy((rewards - quantile).astype(np.float32))[best]
        log_prob, entropy = self.log_prob_and_entropy(chosen)
        loss = -(advantage * log_prob + self.config.entropy_weight * entropy).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        self._optimizer.step()
        return {
            "reward/mean": float(rewards.mean()),
            "reward/quantile": quantile,
            "entropy": float(entropy.detach().mean()),
        }

    def log_prob_and_entropy(
        self, written: Written
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Returns each law's log-probability, and its decayed sum of entropies."""
        logits, _ = self.policy(written.contexts, self.policy.initial(len(written.tokens)))
        log_probs = torch.log_softmax(logits + written.log_prior, dim=-1)
        chosen = log_probs.gather(-1, written.tokens[..., None])[..., 0]
        # A token that may not come has probability 0, and 0 · log 0 is 0, in its gradient too.
        allowed = written.log_prior > -torch.inf
        terms = log_probs.exp() * log_probs.masked_fill(~allowed, 0.0)
        steps = torch.arange(written.tokens.shape[1])
        weights = self.config.entropy_decay**steps * written.valid
        return (chosen * written.valid).sum(-1), -(terms.sum(-1) * weights).sum(-1)

    @torch.no_grad()
    def _write(self, drafts: Sequence[Draft]) -> Written:
        """Fills drafts in step, all that are still open at a time."""
        batch = len(drafts)
        memory = self.policy.initial(batch)
        steps: list[tuple[Int64[np.ndarray, B], Int64[np.ndarray, "B 3"], np.ndarray]] = []
        alive = []
        while any(not draft.complete for draft in drafts):
            contexts = np.full((batch, CONTEXT), NO_TOKEN)
            prior = np.zeros((batch, NUM_TOKENS), np.float32)
            prior[:, 0] = 1.0
            running = [i for i, draft in enumerate(drafts) if not draft.complete]
            for i in running:
                draft = drafts[i]
                contexts[i] = (draft.parent, draft.sibling, draft.previous)
                prior[i] = draft.options().prior
            logits, memory = self.policy(torch.from_numpy(contexts)[:, None], memory)
            tokens = self._drawn(logits[:, 0].numpy(), prior)
            for i in running:
                drafts[i].place(int(tokens[i]))
            steps.append((tokens, contexts, prior))
            alive.append(np.isin(np.arange(batch), running))
        tokens, contexts, priors = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        with np.errstate(divide="ignore"):
            log_prior = np.log(priors)
        valid = torch.from_numpy(np.stack(alive, axis=1))
        return Written(
            torch.from_numpy(tokens), torch.from_numpy(contexts), torch.from_numpy(log_prior), valid
        )

    def _drawn(
        self, logits: Float32[np.ndarray, "B V"], prior: Float32[np.ndarray, "B V"]
    ) -> Int64[np.ndarray, "B"]:
        """Draws one token per row from prior · exp(logits)."""
        weights = prior * np.exp(logits - logits.max(axis=-1, keepdims=True)).astype(np.float64)
        chances = weights.cumsum(axis=-1)
        level = self._rng.random((len(weights), 1)) * chances[:, -1:]
        return (chances > level).argmax(axis=-1).astype(np.int64)
