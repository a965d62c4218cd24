"""The learned world as an environment: ``AIME/LatentWorld-v0``, natively batched.

    vector = gym.make_vec("AIME/LatentWorld-v0", num_envs=256, checkpoint="runs/walker", horizon=15)
    env = gym.make("AIME/LatentWorld-v0", checkpoint="runs/walker", start="data/walker")

    state_{t+1} = advance(belief_t, a_t);  belief_{t+1} ~ prior;  reward and continuation from its heads

One forward pass moves all environments. The noise of a whole episode is drawn at its reset from that
environment's own generator, so N environments in one batch dream what N single ones with the same
seeds dream. The single environment is a batch of one. Nothing is decoded unless somebody renders;
attention and slots roll on only where they are observed or rendered.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from aime_agent.envs.latent_vector import LatentVectorEnv, row_of
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief


class LatentWorldEnv(gym.Env[Any, Any]):
    """One dream: `LatentVectorEnv` with one environment, which nobody resets.

    Args:
        checkpoint: See `LatentVectorEnv`.
        render_mode: None or ``rgb_array``.
        **settings: Of `LatentConfig`.
    """

    metadata = LatentVectorEnv.metadata

    def __init__(
        self,
        checkpoint: str | Path | AimeWorldModel,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.render_mode = render_mode
        self.vector = LatentVectorEnv(
            1, checkpoint, AutoresetMode.DISABLED, render_mode, **settings
        )
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    @property
    def model(self) -> AimeWorldModel:
        """The world that is dreamt."""
        return self.vector.model

    @property
    def belief(self) -> Belief:
        """What is believed now, as a batch of one."""
        return self.vector.belief

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins a new dream; see `LatentVectorEnv.reset`."""
        super().reset(seed=seed)
        self.vector.rngs[0] = self.np_random
        observation, info = self.vector.reset(options=options)
        return row_of(observation, 0), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dreams one step; see `LatentVectorEnv.step`."""
        value = np.asarray(action, dtype=np.float32)[None]
        observation, rewards, terminated, truncated, info = self.vector.step(value)
        told = {k: float(v[0]) for k, v in info.items() if not k.startswith("_")}
        return (
            row_of(observation, 0),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            told,
        )

    def render(self) -> Any:
        """Decodes what is dreamt now."""
        found = self.vector.render()
        return None if found is None else found[0]
