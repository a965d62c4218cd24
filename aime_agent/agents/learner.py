"""One update of the world model on a batch; `behaviour` learns to act in what it makes."""

from collections.abc import Mapping
from math import inf
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.agents.adversary import Adversary
from aime_agent.agents.config import AgentConfig
from aime_agent.agents.parts import join, part
from aime_agent.data.augment import SHIFT_UNIFORMS, ZOOM_UNIFORMS, RandomShift, ZoomCrop
from aime_agent.optimization.ema import EMA
from aime_agent.optimization.loss_aggregator import TASKS, TERMS, TaskLosses
from aime_agent.optimization.optim import make_optimizer
from aime_agent.optimization.schedules import kl_beta, lr_factor, tau_schedule
from aime_agent.structs import Batch
from aime_agent.world_model.adversarial import films
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief

DOUBT_RATE = 1e-3
"""Learning rate of the heads of `disagreement`."""


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
        groups = {"slots": model.attention_parameters(), "model": model.fitted_parameters()}
        if not groups["slots"]:
            del clips["slots"], groups["slots"]
        self.optimizer = make_optimizer(groups, lr=config.learning_rate, clip=clips)
        self.balancer = model.make_balancer()
        heads = None if model.doubt is None else {"disagreement": model.doubt}
        self.doubt = None if heads is None else make_optimizer(heads, lr=DOUBT_RATE, clip=inf)
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
            number_format=self.config.precision,
        )
        self.optimizer.zero_grad()
        tasks = passed.losses.per_task()
        weights = None if adversary is None else adversary.task_weights(step, len(tasks))
        self.balancer.backward(tasks, weights)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        spread = torch.stack(torch._foreach_norm(gradients))
        norms = self.optimizer.step(lr_factor(step, schedule))
        doubt = self._learn_doubt(data, passed.beliefs)
        self.ema.update(self.model)
        metrics = {f"grad_norm/{name}": norm for name, norm in norms.items()}
        metrics["gradient_norms"] = spread
        if adversary is not None:
            seen = films(self.model, data, passed.patches, passed.beliefs.z)
            metrics |= adversary.update(seen, step)
        return passed.losses, passed.beliefs, metrics | passed.metrics | doubt

    def _learn_doubt(self, data: SequenceData, beliefs: Belief) -> dict[str, Tensor]:
        """Teaches the heads of `disagreement` on beliefs that are not moved by it."""
        heads = self.model.doubt
        if heads is None or self.doubt is None or data.actions.shape[1] < 2:
            return {}
        features, taken = beliefs.features[:, :-1], data.actions[:, :-1]
        loss = heads.loss(features, taken, beliefs.context[:, 1:], ~data.is_first[:, 1:])
        self.doubt.zero_grad()
        loss.backward()
        self.doubt.step()
        return {"loss/disagreement": loss.detach()}

    def _teacher(self) -> AimeWorldModel | None:
        """The averaged copy, if the model learns from it: only read, never written."""
        return cast("AimeWorldModel", self.ema.module) if self.model.config.weights.gram else None

    @torch.no_grad()
    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of a batch: ``total``, ``task/…`` and ``loss/…``. Nothing learns.

        The adversarial task is left out: its discriminators learn, so its losses do not compare.
        """
        self.model.eval()
        named, _ = self.model.compute_total_loss(
            batch.observations,
            batch.actions,
            batch.rewards,
            batch.terminated,
            batch.is_first,
            teacher=self._teacher(),
        )
        tasks = {f"task/{name}": named[name] for name in (*TASKS, "control") if name in named}
        terms = {f"loss/{name}": named[name] for name in TERMS if name in named}
        return {"total": named["total"], **tasks, **terms}

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
            doubt={} if self.doubt is None else self.doubt.state_dict(),
            adversary=adversary,
        )

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self.optimizer.load_state_dict(part(state, "optimizer"))
        self.balancer.load_state_dict(part(state, "balancer"))
        self.ema.load_state_dict(part(state, "ema"))
        if self.doubt is not None:
            self.doubt.load_state_dict(part(state, "doubt"))
        if self.adversary is not None:
            self.adversary.load_state_dict(part(state, "adversary"))


def sequence_data(model: AimeWorldModel, batch: Batch, config: AgentConfig) -> SequenceData:
    """Moves a replayed batch to the model's device, as floats, augmented if asked for."""
    frames = model.images(_pinned(batch.observations, model.pixels.mean.device))
    frames = augmented(frames, config)
    return SequenceData(
        frames,
        batch.actions.to(frames),
        batch.is_first.to(frames.device),
        batch.rewards.to(frames),
        batch.terminated.to(frames.device),
    )


def _pinned(frames: Tensor, device: torch.device) -> Tensor:
    """Sends frames to a GPU from locked memory, while the processor goes on."""
    if device.type != "cuda" or frames.is_cuda:
        return frames
    return frames.pin_memory().to(device, non_blocking=True)


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
