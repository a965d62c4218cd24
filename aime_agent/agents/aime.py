"""AimeAgent: a world model, an actor-critic that learns in its dreams, and how to act with both.

agent = AimeAgent.from_pretrained("runs/quickstart")
action, state = agent.predict(observation, state, episode_start)
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent import distributed
from aime_agent.agents.behaviour import make_behaviour
from aime_agent.agents.config import AgentConfig
from aime_agent.agents.learner import WorldModelLearner, sequence_data
from aime_agent.agents.parts import join, part
from aime_agent.agents.presets import agent_preset
from aime_agent.agents.randomness import seeded
from aime_agent.configs import from_dict, to_dict
from aime_agent.data.saved import read_agent
from aime_agent.errors import CheckpointError
from aime_agent.structs import Batch
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset
from aime_agent.world_model.state import WorldState

if TYPE_CHECKING:
    from aime_agent.policies.planner import PlannerPolicy


class ActingState(NamedTuple):
    """What an agent remembers between two actions."""

    world: WorldState
    """State at t, the last action included."""


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """Everything that rebuilds an agent: its task, its sizes, its settings."""

    task: str
    preset: str
    seed: int = 0
    action_repeat: int = 2
    image_size: int = 64
    camera_id: int | str = 0
    render_quality: str = "standard"
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)


class AimeAgent:
    """Acts, learns, saves and loads; see `AimeAgent.create` and `AimeAgent.from_pretrained`.

    Args:
        spec: What the agent is.
        device: Where it computes.
    """

    def __init__(self, spec: AgentSpec, device: str | torch.device = "cpu") -> None:
        self.config = spec
        self.device = torch.device(device)
        with seeded(spec.seed, "weights", 0, torch.device("cpu")):
            self.world_model = AimeWorldModel(spec.world_model)
            self.behaviour = make_behaviour(
                self.world_model, spec.agent, spec.agent.discount(spec.action_repeat)
            )
        self.world_model.to(self.device)
        for module in self.behaviour.modules.values():
            module.to(self.device)
        with seeded(spec.seed, "discriminators", 0, torch.device("cpu")):
            self.learner = WorldModelLearner(self.world_model, spec.agent)
        self.world_model.eval()
        self.filter = BeliefFilter(self.world_model)

    @classmethod
    def create(cls, config: Any, action_dim: int) -> "AimeAgent":
        """Builds an untrained agent for a `TrainConfig` and an action size."""
        world = preset(
            config.preset,
            action_dim=action_dim,
            image_size=config.image_size,
            **config.world_model,
        )
        spec = AgentSpec(
            task=config.task,
            preset=config.preset,
            seed=config.seed,
            action_repeat=config.action_repeat,
            image_size=config.image_size,
            camera_id=config.camera_id,
            render_quality=config.render_quality,
            world_model=world,
            agent=agent_preset(config.preset, **config.agent),
        )
        return cls(spec, config.device)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device = "cpu") -> "AimeAgent":
        """Loads an agent from a run folder (its newest valid checkpoint) or a checkpoint.

        Raises:
            CheckpointError: there is no valid checkpoint, or it holds something else.
        """
        settings, tensors = read_agent(Path(path))
        if settings.get("kind") != cls.__name__:
            raise CheckpointError(f"{path}: an AimeAgent required, found {settings.get('kind')!r}")
        agent = cls(from_dict(AgentSpec, settings["spec"]), device)
        agent.load_state_dict(tensors)
        return agent

    # ------------------------------------------------------------------ acting

    def make_env(self, render_mode: str | None = None, **changes: Any) -> gym.Env[Any, Any]:
        """Makes the environment that the agent was trained in.

        Args:
            render_mode: None or ``rgb_array``.
            **changes: Settings to change, such as ``render_quality``.
        """
        from aime_agent.envs.make import environment_id, make_env

        c = self.config
        settings: dict[str, Any] = {"image_size": c.image_size, "action_repeat": c.action_repeat}
        if "AIME/" in environment_id(c.task):
            settings |= {"camera_id": c.camera_id, "render_quality": c.render_quality}
        return make_env(c.task, render_mode=render_mode, **{**settings, **changes})

    def initial_state(self, batch_size: int) -> ActingState:
        """State before the first observation."""
        return ActingState(self.filter.initial_state(batch_size))

    @torch.no_grad()
    def act(
        self,
        observations: UInt8[np.ndarray, "N H W C"],
        state: ActingState,
        is_first: Bool[np.ndarray, " N"],
        step: int | None,
        deterministic: bool = False,
    ) -> tuple[Float32[np.ndarray, "N A"], ActingState]:
        """Filters one frame per environment and acts.

        Args:
            observations: Frames.
            state: What the last call returned.
            is_first: Where an episode begins; there the state is forgotten.
            step: Counter that, with the seed, decides the noise; None takes torch's own state.
            deterministic: Take means instead of samples.
        """
        noise = (
            nullcontext() if step is None else seeded(self.config.seed, "act", step, self.device)
        )
        with noise:
            belief = self.filter.observe(observations, state.world, is_first, not deterministic)
            distribution = self.behaviour.actor(belief.features)
            action = distribution.mean
            if not deterministic:
                spread = self.config.agent.action_noise * torch.randn_like(action)
                action = distribution.sample(torch.randn_like(action))[0] + spread
            action = action.clamp(-1.0, 1.0)
        return action.cpu().numpy(), ActingState(self.filter.advance(belief, action))

    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: ActingState | None = None,
        episode_start: Bool[np.ndarray, " N"] | None = None,
        deterministic: bool = True,
    ) -> tuple[Float32[np.ndarray, "..."], ActingState]:
        """Acts with Stable-Baselines3's signature.

        Args:
            observation: One frame ``[H, W, C]`` or several ``[N, H, W, C]``, uint8; or a
                dictionary with ``pixels``.
            state: What the last call returned; None begins an episode.
            episode_start: Where an episode begins.
            deterministic: Take the mean action.

        Raises:
            DataError: the observation has another dtype or shape than the agent was trained on.
        """
        frames, first, single = self.filter.batch(observation, state is None, episode_start)
        state = self.initial_state(len(frames)) if state is None else state
        action, state = self.act(frames, state, first, None, deterministic)
        return (action[0] if single else action), state

    def planner(self, seed: int = 0, **settings: Any) -> "PlannerPolicy":
        """Returns a policy that plans with the agent's world model, actor and critic.

        Args:
            seed: Decides the planner's noise.
            **settings: Of `PlannerConfig`: method "mppi" or "cem", samples, horizon, iterations, …

        Raises:
            ConfigError: a setting is unknown or cannot work.
        """
        from aime_agent.agents.planning import make_planner

        return make_planner(self, seed=seed, **settings)

    # ------------------------------------------------------------------ learning

    def begin(self, frames: UInt8[Tensor, "N C H W"]) -> None:
        """Fits what depends on data, once, before the first update.

        Several processes go on with the weights of the first.
        """
        with distributed.together(), seeded(self.config.seed, "begin", 0, self.device):
            distributed.broadcast(self._tensors())
            self.world_model.begin(frames)
            self.learner.restart_average()
            distributed.broadcast(self._tensors())

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Learns from a batch: the world model, then actor and critic in its dreams."""
        with distributed.together(), seeded(self.config.seed, "update", step, self.device):
            data = sequence_data(self.world_model, batch, self.config.agent)
            losses, beliefs, metrics = self.learner.update(data, step)
            self.world_model.requires_grad_(False)
            behaviour = self.behaviour.update(beliefs, data)
            self.world_model.requires_grad_(True)
        return {"loss": losses.total.detach(), **metrics, **behaviour}

    def update_world_model(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Learns from a batch with the world model alone; actor and critic stay as they are."""
        with distributed.together(), seeded(self.config.seed, "update", step, self.device):
            data = sequence_data(self.world_model, batch, self.config.agent)
            losses, _, metrics = self.learner.update(data, step)
        return {"loss": losses.total.detach(), **metrics}

    def measure_world_model(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of a batch by name, without learning or annealing, with mean latents."""
        return self.learner.measure(batch)

    @torch.no_grad()
    def images(self, batch: Batch) -> dict[str, UInt8[np.ndarray, "H W C"]]:
        """Returns strips of real frames, reconstructions and attention for TensorBoard."""
        self.world_model.eval()
        out = self.world_model.forward_sequence(
            batch.observations[:1], batch.actions[:1], batch.is_first[:1]
        )
        rows = [out.observations[0], out.reconstructions[0]]
        if self.config.world_model.use_attention:
            attention = out.attention_maps[0, :, None]
            attention = attention / attention.amax((-2, -1), keepdim=True)
            size = out.observations.shape[-2:]
            rows.append(torch.nn.functional.interpolate(attention, size).expand(-1, 3, -1, -1))
        picture = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
        strip = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8)
        return {"real_reconstruction_attention": strip.cpu().numpy()}

    def _tensors(self) -> list[Tensor]:
        """Weights and buffers of all that learns, in a fixed order."""
        judges = self.learner.adversary
        parts = [self.world_model, self.learner.ema.module, *self.behaviour.modules.values()]
        parts += [] if judges is None else [judges.discriminators]
        return [x for module in parts for x in (*module.parameters(), *module.buffers())]

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that learning changes, as flat tensors."""
        return join(
            world_model=self.world_model.state_dict(),
            learner=self.learner.state_dict(),
            behaviour=self.behaviour.state_dict(),
        )

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Takes it back.

        Raises:
            CheckpointError: the tensors are those of another agent.
        """
        try:
            self.world_model.load_state_dict(part(tensors, "world_model"))
            self.learner.load_state_dict(part(tensors, "learner"))
            self.behaviour.load_state_dict(part(tensors, "behaviour"))
        except (RuntimeError, KeyError) as error:
            first = str(error).splitlines()
            reason = first[1].strip() if len(first) > 1 else first[0]
            raise CheckpointError(
                f"the weights are those of another agent than {self.config.task} with "
                f"{self.config.world_model.action_dim} actions: {reason}"
            ) from error

    def config_dict(self) -> dict[str, Any]:
        """Settings as JSON values; `from_pretrained` rebuilds the agent from them."""
        return {"kind": type(self).__name__, "spec": to_dict(self.config)}
