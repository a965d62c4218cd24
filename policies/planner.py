"""A planner as a policy: frames in, actions out, with Stable-Baselines3's ``predict``.

policy = AimeAgent.from_pretrained("runs/walker").planner(method="mppi")
evaluate_policy(policy, env)                       # Stable-Baselines3's
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.planning.planner import Planner, PlanNoise, draw_noise, shift
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.state import WorldState

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel


class PlannerState(NamedTuple):
    """What a planner policy remembers between two decisions, one row per environment."""

    world: WorldState
    """State at t, the last action included."""
    mean: Float[Tensor, "N H A"]
    """Where the next plan starts."""
    turn: Int64[np.ndarray, " N"]
    """Decisions made in this episode: with the seed, they decide the noise."""


class PlannerPolicy:
    """Filters frames, plans from what it believes, takes the first action and plans anew.

    Noise depends on the seed and on the turn within an episode, so an environment meets the same
    plan alone and among others, and an episode can be played again.

    Args:
        model: The world model that filters; the planner's own.
        planner: Plans in it.
        seed: Decides everything random.
        action_space: The environment's, if it is another Box than [-1, 1]: actions are scaled to
            it.

    Raises:
        ConfigError: the action space is not a bounded Box of the model's actions.
    """

    def __init__(
        self,
        model: "AimeWorldModel",
        planner: Planner,
        seed: int = 0,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        self.filter = BeliefFilter(model)
        self.planner = planner
        self.seed = seed
        self._center, self._half = _scale(action_space, model.config.action_dim)

    def initial_state(self, batch_size: int) -> PlannerState:
        """State before the first observation."""
        width = self.filter.model.config.action_dim
        mean = torch.zeros(batch_size, self.planner.config.horizon, width)
        world = self.filter.initial_state(batch_size)
        return PlannerState(world, mean.to(world.hidden), np.zeros(batch_size, np.int64))

    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: PlannerState | None = None,
        episode_start: Bool[np.ndarray, " N"] | None = None,
        deterministic: bool = True,
    ) -> tuple[Float32[np.ndarray, "..."], PlannerState]:
        """Plans with Stable-Baselines3's signature.

        Args:
            observation: One frame ``[H, W, C]`` or several ``[N, H, W, C]``, uint8; or a
                dictionary with ``pixels``.
            state: What the last call returned; None begins an episode.
            episode_start: Where an episode begins; there the plan is forgotten too.
            deterministic: Take the plan's mean, else a draw around it.

        Raises:
            DataError: the observation has another dtype or shape than the model was trained on.
        """
        frames, first, single = self.filter.batch(observation, state is None, episode_start)
        state = self.initial_state(len(frames)) if state is None else state
        action, state = self._decide(frames, state, first, deterministic)
        return (action[0] if single else action), state

    @torch.no_grad()
    def _decide(
        self, frames: np.ndarray, state: PlannerState, first: np.ndarray, deterministic: bool
    ) -> tuple[Float32[np.ndarray, "N A"], PlannerState]:
        belief = self.filter.observe(frames, state.world, first)
        turn = np.where(first, 0, state.turn)
        fresh = torch.from_numpy(first).to(self.filter.device)
        warm = torch.where(fresh[:, None, None], 0.0, state.mean)
        noise = self._noise(turn, belief.z)
        plan = self.planner.plan(belief, warm, noise)
        action = self.planner.act(plan, noise, deterministic)
        world = self.filter.advance(belief, action)
        taken = self._center + self._half * action.float().cpu().numpy()
        return taken.astype(np.float32), PlannerState(world, shift(plan.mean), turn + 1)

    def _noise(self, turn: Int64[np.ndarray, " N"], like: Tensor) -> PlanNoise:
        """Noise of each environment by its turn."""
        drawn = {}
        for k in set(turn.tolist()):
            sequence = np.random.SeedSequence([self.seed, k]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(sequence[0] >> np.uint64(1)))
            drawn[k] = draw_noise(self.planner.world, self.planner.config, generator)
        rows = [drawn[k] for k in turn.tolist()]
        return PlanNoise._make(torch.cat(parts).to(like) for parts in zip(*rows, strict=True))


def _scale(space: spaces.Space[Any] | None, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half the width of the environment's actions."""
    if space is None:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    if not isinstance(space, spaces.Box) or space.shape != (width,) or not space.is_bounded():
        raise ConfigError(
            f"action_space: a bounded Box of {width} actions required, found {space}; "
            "aime_agent.envs.make.make_env brings other environments to one"
        )
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    return (low + high) / 2, (high - low) / 2
