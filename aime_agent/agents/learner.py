"""One update of an agent: the world model on a batch, then behaviour in its dreams."""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.agents.actor_critic import (
    Actor,
    Critic,
    Dream,
    ReturnScale,
    actor_loss,
    dream_targets,
    replay_targets,
)
from aime_agent.agents.adversary import Adversary
from aime_agent.agents.config import AgentConfig
from aime_agent.data.augment import SHIFT_UNIFORMS, ZOOM_UNIFORMS, RandomShift, ZoomCrop
from aime_agent.optimization.ema import EMA
from aime_agent.optimization.loss_aggregator import TaskLosses
from aime_agent.optimization.optim import make_optimizer
from aime_agent.optimization.schedules import kl_beta, lr_factor, tau_schedule
from aime_agent.structs import Batch
from aime_agent.world_model.adversarial import films
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief, bare_belief


class WorldModelLearner:
    """Fits the world model to replayed windows.

    Args:
        model: What is fitted.
        config: Optimiser, balancer, schedules, augmentation.
    """

    def __init__(self, model: AimeWorldModel, config: AgentConfig) -> None:
        self.model = model
        self.config = config
        clips = {"slots": config.slot_grad_clip, "model": config.grad_clip}
        groups = {"slots": model.attention_parameters(), "model": [*model.parameters()]}
        if not groups["slots"]:
            del clips["slots"], groups["slots"]
        self.optimizer = make_optimizer(groups, lr=config.learning_rate, clip=clips)
        self.balancer = model.make_balancer()
        self.ema = EMA(model, config.ema_decay)
        judges = model.make_discriminators()
        self.adversary = None if judges is None else Adversary(judges, config)

    def update(self, data: SequenceData, step: int) -> tuple[TaskLosses, Belief, dict[str, Tensor]]:
        """Takes one gradient step; returns losses, the batch's beliefs and metrics."""
        schedule, adversary = self.config.schedule, self.adversary
        self.model.train()
        passed = self.model.fit(
            data,
            beta=kl_beta(step, schedule),
            tau=tau_schedule(step, self.model.config.max_components, schedule),
            discriminators=None if adversary is None else adversary.judges(step),
            teacher=self._teacher(),
        )
        self.optimizer.zero_grad()
        tasks = passed.losses.per_task()
        weights = None if adversary is None else adversary.task_weights(step, len(tasks))
        self.balancer.backward(tasks, weights)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        spread = torch.stack(torch._foreach_norm(gradients))
        norms = self.optimizer.step(lr_factor(step, schedule))
        self.ema.update(self.model)
        metrics = {f"grad_norm/{name}": norm for name, norm in norms.items()}
        metrics["gradient_norms"] = spread
        if adversary is not None:
            seen = films(self.model, data, passed.patches, passed.beliefs.z)
            metrics |= adversary.update(seen, step)
        return passed.losses, passed.beliefs, metrics | passed.metrics

    def _teacher(self) -> AimeWorldModel | None:
        """The averaged copy, if the model learns from it: only read, never written."""
        return cast("AimeWorldModel", self.ema.module) if self.model.config.weights.gram else None

    def restart_average(self) -> None:
        """Makes the averaged copy equal to the model, after its data-dependent start."""
        self.ema.module.load_state_dict(self.model.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the model's own weights, as flat tensors."""
        adversary = {} if self.adversary is None else self.adversary.state_dict()
        return join(
            optimizer=self.optimizer.state_dict(),
            balancer=self.balancer.state_dict(),
            ema=self.ema.state_dict(),
            adversary=adversary,
        )

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self.optimizer.load_state_dict(part(state, "optimizer"))
        self.balancer.load_state_dict(part(state, "balancer"))
        self.ema.load_state_dict(part(state, "ema"))
        if self.adversary is not None:
            self.adversary.load_state_dict(part(state, "adversary"))


class BehaviourLearner:
    """Learns actor and critic from imagined trajectories.

    Args:
        model: The world in which it dreams; its weights are not touched.
        config: Actor-critic settings.
        discount: Discount of one action.
    """

    def __init__(self, model: AimeWorldModel, config: AgentConfig, discount: float) -> None:
        width = model.config.feature_dim
        self.model = model
        self.config = config
        self.discount = discount
        spread = (config.actor_min_std, config.actor_max_std)
        self.actor = Actor(width, model.config.action_dim, config.actor_units, spread)
        self.critic = Critic(width, config.actor_units)
        self.slow_critic = Critic(width, config.actor_units).requires_grad_(False)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.scale = ReturnScale()
        clip = config.behaviour_clip
        self.actor_optimizer = make_optimizer(
            {"actor": self.actor}, lr=config.actor_learning_rate, clip=clip
        )
        self.critic_optimizer = make_optimizer(
            {"critic": self.critic}, lr=config.critic_learning_rate, clip=clip
        )

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {
            "actor": self.actor,
            "critic": self.critic,
            "slow_critic": self.slow_critic,
            "scale": self.scale,
        }

    def dream(self, start: Belief) -> Dream:
        """Imagines ``horizon`` steps with the actor from flat beliefs."""
        policy_actions = []

        def policy(features: Tensor) -> Tensor:
            distribution = self.actor(features.detach())
            action, raw = distribution.sample(torch.randn_like(distribution.mean))
            policy_actions.append((distribution, raw))
            return action

        c = self.config
        path = self.model.rollout(start, policy, c.horizon, temperature=c.dream_temperature)
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

    def update(self, beliefs: Belief, data: SequenceData) -> dict[str, Tensor]:
        """Takes one step of the actor and one of the critic."""
        c = self.config
        pathwise = c.actor_gradient == "pathwise"
        with torch.set_grad_enabled(True):
            dream = self.dream(self._starts(beliefs))
            values = self.slow_critic.value(dream.features)
            targets = dream_targets(dream, values, self.discount, c.return_lambda)
            scale = self.scale.update(targets.returns.detach())
            loss = actor_loss(dream, targets, scale, c.entropy_weight, pathwise)
        actor_norm = self._improve_actor(loss) if c.train_actor else torch.zeros_like(scale)
        critic = self._critic_loss(dream, targets.returns.detach(), targets.weights, beliefs, data)
        self.critic_optimizer.zero_grad()
        critic.backward()
        critic_norm = self.critic_optimizer.step()["critic"]
        self._follow()
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
            "grad_norm/critic": critic_norm,
        }

    def _improve_actor(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Takes a step; returns the gradient's norm. Nothing but the actor gets a gradient."""
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
        features = torch.cat([beliefs.state.hidden, beliefs.z], dim=-1).detach()
        values = self.slow_critic.value(features)
        terminated = data.is_first & False if data.terminated is None else data.terminated
        target, valid = replay_targets(
            data.rewards,
            terminated,
            data.is_first,
            values,
            self.discount,
            self.config.return_lambda,
        )
        replayed = self.critic.loss(features[:, :-1], target) * valid
        return loss + self.config.replay_critic_weight * replayed.sum() / valid.sum().clamp(min=1)

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


def sequence_data(model: AimeWorldModel, batch: Batch, config: AgentConfig) -> SequenceData:
    """Moves a replayed batch to the model's device, as floats, augmented if asked for."""
    frames = model.images(batch.observations)
    frames = augmented(frames, config)
    return SequenceData(
        frames,
        batch.actions.to(frames),
        batch.is_first.to(frames.device),
        batch.rewards.to(frames),
        batch.terminated.to(frames.device),
    )


def augmented(frames: Float[Tensor, "B T C H W"], config: AgentConfig) -> Tensor:
    """Zooms or shifts whole windows, as the settings say."""
    rows = len(frames)
    if config.augment == "zoom":
        zoom = ZoomCrop(probability=config.augment_probability)
        return zoom(frames, torch.rand(rows, ZOOM_UNIFORMS).to(frames))
    if config.augment == "shift":
        chosen = torch.rand(rows, 1, 1, 1, 1).to(frames) < config.augment_probability
        shifted = RandomShift()(frames, torch.rand(rows, SHIFT_UNIFORMS).to(frames))
        return torch.where(chosen, shifted, frames)
    return frames


def join(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merges dictionaries of tensors under ``name.``."""
    return {f"{name}.{key}": value for name, d in parts.items() for key, value in d.items()}


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the entries that `join` put under ``name.``."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
