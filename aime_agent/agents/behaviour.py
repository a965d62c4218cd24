"""Learning to act: in the world model's dreams, on values that were learned from what was lived.

    critic="state"    v(s), learned on dreams and on replay; a dream of H steps carries λ-returns
    critic="action"   two q(s, a), learned on replay alone; a dream of H steps carries the gradient
                      of r_1 + γ r_2 + … + γ^H min(q_1, q_2)(s_H, a_H) to the actor

The first is that of Hafner et al. (2023). The second is the stochastic value gradient SVG(H) (Heess
et al., 2015; with entropy and two critics Amos et al., 2021) on filtered beliefs: what the model errs
about beyond H steps cannot reach the values. H = 0 asks the critics alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent import distributed
from aime_agent.agents.actor_critic import (
    ActionCritic,
    ActionDistribution,
    Actor,
    Critic,
    Dream,
    ReturnScale,
    actor_loss,
    dream_targets,
    replay_targets,
)
from aime_agent.agents.config import AgentConfig
from aime_agent.agents.parts import join, part
from aime_agent.errors import DataError
from aime_agent.functional.returns import n_step_return
from aime_agent.optimization.optim import make_optimizer
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief, bare_belief


class BehaviourLearner(ABC):
    """Learns an actor and a critic; `make_behaviour` builds the one that the settings name.

    Args:
        model: The world in which it dreams; its weights are not touched.
        config: Actor-critic settings.
        discount: Discount of one action.
        critic: The critic that learns; a copy follows it slowly.
    """

    critic: nn.Module
    slow_critic: nn.Module

    def __init__(
        self, model: AimeWorldModel, config: AgentConfig, discount: float, critic: nn.Module
    ) -> None:
        width = model.config.feature_dim
        self.model = model
        self.config = config
        self.discount = discount
        spread = (config.actor_min_std, config.actor_max_std)
        self.actor = Actor(width, model.config.action_dim, config.actor_units, spread)
        self.critic = critic
        self.slow_critic = deepcopy(critic).requires_grad_(False)
        self.scale = ReturnScale()
        clip = config.behaviour_clip
        self.actor_optimizer = make_optimizer(
            {"actor": self.actor}, lr=config.actor_learning_rate, clip=clip
        )
        self.critic_optimizer = make_optimizer(
            {"critic": critic}, lr=config.critic_learning_rate, clip=clip
        )

    @abstractmethod
    def update(self, beliefs: Belief, data: SequenceData) -> dict[str, Tensor]:
        """Learns from the beliefs of a batch, ``[B, T, ...]``; returns metrics."""

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {
            "actor": self.actor,
            "critic": self.critic,
            "slow_critic": self.slow_critic,
            "scale": self.scale,
        }

    def dream(self, start: Belief, horizon: int | None = None) -> Dream:
        """Imagines ``horizon`` steps (default: the configuration's) with the actor from flat beliefs."""
        policy_actions = []

        def policy(features: Tensor) -> Tensor:
            distribution = self.actor(features.detach())
            action, raw = distribution.sample(torch.randn_like(distribution.mean))
            policy_actions.append((distribution, raw))
            return action

        c = self.config
        steps = c.horizon if horizon is None else horizon
        path = self.model.rollout(start, policy, steps, temperature=c.dream_temperature)
        features = path.features
        distributions, raws = zip(*policy_actions, strict=True)
        means, stds = zip(*distributions, strict=True)
        arrived = features[:, 1:]
        kind = type(distributions[0])
        return Dream(
            features,
            kind(torch.stack(means, 1), torch.stack(stds, 1)),
            torch.stack(raws, 1),
            self.model.reward_head.mean(self.model.reward_head(arrived)),
            torch.sigmoid(self.model.continuation_head(arrived)),
        )

    def _improve_actor(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Takes a step if the actor may learn; returns the gradient's norm.

        Nothing but the actor gets a gradient.
        """
        if not self.config.train_actor:
            return torch.zeros_like(loss.detach())
        gradients = torch.autograd.grad(loss, list(self.actor.parameters()))
        for parameter, gradient in zip(self.actor.parameters(), gradients, strict=True):
            parameter.grad = gradient
        return self.actor_optimizer.step()["actor"]

    def _starts(self, beliefs: Belief) -> Belief:
        """Beliefs of a batch that dreams start from, flat and without a graph."""
        skip = min(self.config.dream_skip, beliefs.z.shape[1] - 1)
        batch, length = beliefs.z.shape[0], beliefs.z.shape[1] - skip
        count = min(self.config.dream_starts, batch * length)
        chosen = torch.randperm(batch * length, device=beliefs.z.device)[:count]

        def pick(x: Tensor) -> Tensor:
            return x.detach()[:, skip:].flatten(0, 1)[chosen]

        return bare_belief(
            hidden=pick(beliefs.state.hidden),
            cell=pick(beliefs.state.cell),
            z=pick(beliefs.z),
            context_hat=pick(beliefs.context_hat),
            context=pick(beliefs.context),
        )

    def _improve_critic(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Takes a step, which the slow critic follows; returns the gradient's norm."""
        self.critic_optimizer.zero_grad()
        loss.backward()
        norm = self.critic_optimizer.step()["critic"]
        self._follow()
        return norm

    def _lived_returns(
        self, data: SequenceData, rewards: Float[Tensor, "B T"], values: Float[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T-1"], Bool[Tensor, "B T-1"]]:
        """λ-returns of replayed windows, and which rows have one."""
        first = data.is_first
        ended = torch.zeros_like(first) if data.terminated is None else data.terminated
        lambda_ = self.config.return_lambda
        return replay_targets(rewards, ended, first, values, self.discount, lambda_)

    def _act(self, features: Float[Tensor, "*b F"]) -> tuple[Tensor, ActionDistribution]:
        """Samples actions; no gradient to the features."""
        distribution = self.actor(features.detach())
        return distribution.sample(torch.randn_like(distribution.mean))[0], distribution

    @torch.no_grad()
    def _follow(self) -> None:
        slow: list[Tensor] = [*self.slow_critic.parameters()]
        torch._foreach_lerp_(slow, [*self.critic.parameters()], self.config.slow_critic_rate)

    def state_dict(self) -> dict[str, Tensor]:
        """Networks, optimisers and the return scale, as flat tensors."""
        modules = {name: module.state_dict() for name, module in self.modules.items()}
        return join(
            actor_optimizer=self.actor_optimizer.state_dict(),
            critic_optimizer=self.critic_optimizer.state_dict(),
            **modules,
        )

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        for name, module in self.modules.items():
            module.load_state_dict(part(state, name))
        self.actor_optimizer.load_state_dict(part(state, "actor_optimizer"))
        self.critic_optimizer.load_state_dict(part(state, "critic_optimizer"))


class StateCriticLearner(BehaviourLearner):
    """λ-returns of dreams teach the actor, and with those of replay the critic."""

    critic: Critic
    slow_critic: Critic

    def __init__(self, model: AimeWorldModel, config: AgentConfig, discount: float) -> None:
        critic = Critic(model.config.feature_dim, config.actor_units)
        super().__init__(model, config, discount, critic)

    def update(self, beliefs: Belief, data: SequenceData) -> dict[str, Tensor]:
        """Takes ``behaviour_updates`` steps of the actor and of the critic."""
        for _ in range(self.config.behaviour_updates):
            metrics = self._step(beliefs, data)
        return metrics

    def _step(self, beliefs: Belief, data: SequenceData) -> dict[str, Tensor]:
        c = self.config
        pathwise = c.actor_gradient == "pathwise"
        with torch.set_grad_enabled(True):
            dream = self.dream(self._starts(beliefs))
            values = self.slow_critic.value(dream.features)
            targets = dream_targets(dream, values, self.discount, c.return_lambda)
            scale = self.scale.update(targets.returns.detach())
            loss = actor_loss(dream, targets, scale, c.entropy_weight, pathwise)
        actor_norm = self._improve_actor(loss)
        critic = self._critic_loss(dream, targets.returns.detach(), targets.weights, beliefs, data)
        return {
            "actor_loss": loss.detach(),
            "critic_loss": critic.detach(),
            "dream_return": targets.returns.detach().mean(),
            "dream_reward": dream.rewards.detach().mean(),
            "dream_continue": dream.continues.detach().mean(),
            "value": values.detach().mean(),
            "return_scale": scale,
            "action_std": dream.actions.std.detach().mean(),
            "grad_norm/actor": actor_norm,
            "grad_norm/critic": self._improve_critic(critic),
        }

    def _critic_loss(
        self,
        dream: Dream,
        returns: Float[Tensor, "N H"],
        weights: Float[Tensor, "N H"],
        beliefs: Belief,
        data: SequenceData,
    ) -> Float[Tensor, ""]:
        imagined = self.critic.loss(dream.features[:, :-1].detach(), returns)
        loss = (weights * imagined).mean()
        if self.config.replay_critic_weight == 0 or data.rewards is None:
            return loss
        features = beliefs.features.detach()
        values = self.slow_critic.value(features)
        target, valid = self._lived_returns(data, data.rewards, values)
        replayed = self.critic.loss(features[:, :-1], target) * valid
        return loss + self.config.replay_critic_weight * replayed.sum() / _count(valid)


class ActionCriticLearner(BehaviourLearner):
    """Returns of replay teach two critics of the action; a short dream takes them to the actor."""

    critic: ActionCritic
    slow_critic: ActionCritic

    def __init__(self, model: AimeWorldModel, config: AgentConfig, discount: float) -> None:
        c = model.config
        critic = ActionCritic(c.feature_dim, c.action_dim, config.actor_units)
        super().__init__(model, config, discount, critic)

    def update(self, beliefs: Belief, data: SequenceData) -> dict[str, Tensor]:
        """Takes ``behaviour_updates`` steps of the critics and of the actor.

        Raises:
            DataError: the batch has no rewards.
        """
        rewards = data.rewards
        if rewards is None:
            raise DataError(
                "data.rewards: rewards [B, T] required by critic 'action', which learns from them "
                "alone, found None; give them, or set critic='state'"
            )
        for _ in range(self.config.behaviour_updates):
            metrics = self._step(beliefs, data, rewards)
        return metrics

    def _step(
        self, beliefs: Belief, data: SequenceData, rewards: Float[Tensor, "B T"]
    ) -> dict[str, Tensor]:
        features = beliefs.features.detach()
        with torch.no_grad():
            values = self.slow_critic.value(features, self._act(features)[0])
            returns, valid = self._lived_returns(data, rewards, values)
            scale = self.scale.update(returns)
        taken = data.actions[:, : returns.shape[1]]
        losses = self.critic.loss(features[:, :-1], taken, returns) * valid
        critic_loss = losses.sum() / _count(valid)
        critic_norm = self._improve_critic(critic_loss)
        with torch.set_grad_enabled(True):
            found, actions, dreamt = self._imagined_return(self._starts(beliefs))
            objective = found / scale + self.config.entropy_weight * actions.entropy()
            actor_loss = -objective.mean()
        return {
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "dream_return": found.detach().mean(),
            "value": values.mean(),
            "return_scale": scale,
            "action_std": actions.std.detach().mean(),
            "grad_norm/actor": self._improve_actor(actor_loss),
            "grad_norm/critic": critic_norm,
            **dreamt,
        }

    def _imagined_return(
        self, start: Belief
    ) -> tuple[Float[Tensor, "N"], ActionDistribution, dict[str, Tensor]]:
        """Returns what a dream of ``horizon`` steps earns, its first actions, and its metrics."""
        if self.config.horizon == 0:
            features = start.features
            action, distribution = self._act(features)
            return self.critic.value(features, action), distribution, {}
        dream = self.dream(start)
        last = dream.features[:, -1]
        reached = self.critic.value(last, self._act(last)[0])
        found = n_step_return(dream.rewards, self.discount * dream.continues, reached)
        first = ActionDistribution(dream.actions.mean[:, 0], dream.actions.std[:, 0])
        metrics = {
            "dream_reward": dream.rewards.detach().mean(),
            "dream_continue": dream.continues.detach().mean(),
        }
        return found, first, metrics


def _count(valid: Bool[Tensor, "*b"]) -> Float[Tensor, ""]:
    """What a sum over valid rows is divided by, whichever process has them."""
    return distributed.share(valid.sum().float())


def make_behaviour(
    model: AimeWorldModel, config: AgentConfig, discount: float
) -> StateCriticLearner | ActionCriticLearner:
    """Builds the learner whose critic the settings name.

    Args:
        model: The world in which it dreams.
        config: Actor-critic settings; ``critic`` chooses.
        discount: Discount of one action.
    """
    kind = StateCriticLearner if config.critic == "state" else ActionCriticLearner
    return kind(model, config, discount)
