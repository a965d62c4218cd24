"""Discriminators that learn beside the world model: their optimiser and when they act.

    warm-up w(s)     0 until ``adversarial_start``, then linear up to 1: weight of the task
    discriminator    ``disc_steps`` steps on the batch after every ``disc_every``-th update,
                     from ``adversarial_start`` on

The warm-up is a weight of the whole task and goes to the balancer, which applies it after its
normalisation: inside the loss it would do nothing there.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from aime_agent.agents.config import AgentConfig
from aime_agent.optimization.loss_aggregator import TASKS
from aime_agent.optimization.optim import make_optimizer
from aime_agent.optimization.schedules import (
    adversarial_warmup,
    discriminator_steps,
    lr_factor,
)
from aime_agent.world_model.adversarial import Discriminators, Films, discriminator_loss

BETAS = (0.5, 0.9)
"""Adam's memories for discriminators: their target moves, so the first is short."""


class Adversary:
    """The discriminators of a world model, as its learner sees them.

    Args:
        discriminators: Who judges; frozen but for `update`.
        config: Their optimiser and the schedule.
    """

    def __init__(self, discriminators: Discriminators, config: AgentConfig) -> None:
        self.discriminators = discriminators
        self.config = config
        self.optimizer = make_optimizer(
            {"discriminators": discriminators},
            lr=config.disc_learning_rate,
            clip=config.disc_grad_clip,
            betas=BETAS,
        )
        discriminators.eval()

    def judges(self, step: int) -> Discriminators | None:
        """Returns the discriminators if the world model learns from them at ``step``."""
        return self.discriminators if adversarial_warmup(step, self.config.schedule) > 0 else None

    def task_weights(self, step: int, count: int) -> list[float]:
        """Returns the weights of ``count`` tasks: the warm-up for this one, 1 for the others."""
        weights = [1.0] * count
        weights[TASKS.index("adversarial")] = adversarial_warmup(step, self.config.schedule)
        return weights

    def update(self, seen: Films, step: int) -> dict[str, Tensor]:
        """Takes the discriminator steps that are due after update ``step``; returns metrics."""
        schedule = self.config.schedule
        warm = adversarial_warmup(step, schedule)
        metrics = {"adversarial/warmup": seen.real.new_tensor(warm)}
        begun = step >= schedule.adversarial_start * schedule.total_steps
        for _ in range(discriminator_steps(step, schedule) if begun else 0):
            self.discriminators.train()
            self.optimizer.zero_grad()
            with torch.enable_grad():
                loss, said = discriminator_loss(self.discriminators, seen)
                loss.backward()
            norms = self.optimizer.step(lr_factor(step, schedule))
            self.discriminators.eval()
            metrics |= {**said, "grad_norm/discriminators": norms["discriminators"]}
        self.optimizer.zero_grad()
        return metrics

    def state_dict(self) -> dict[str, Tensor]:
        """Returns weights, spectral norms and moments as flat tensors."""
        networks = {f"networks.{k}": v for k, v in self.discriminators.state_dict().items()}
        moments = {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
        return networks | moments

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.discriminators.load_state_dict(part("networks."))
        self.optimizer.load_state_dict(part("optimizer."))
