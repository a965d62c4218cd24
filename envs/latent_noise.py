"""The noise of dreams: of a whole episode at once, from the generator of its environment."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class EpisodeNoise:
    """What chance decides in N episodes of at most H steps: z, its component, the reward.

    Args:
        num_envs: N.
        horizon: H.
        latent_dim: z.
    """

    def __init__(self, num_envs: int, horizon: int, latent_dim: int) -> None:
        self.normal = np.zeros((num_envs, horizon, latent_dim), np.float32)
        self.uniform = np.zeros((num_envs, horizon, 2), np.float32)

    def draw(self, env: int, rng: np.random.Generator, starts: int) -> int:
        """Draws an episode's noise; returns where it begins, out of ``starts``."""
        start = int(rng.integers(starts))
        self.normal[env] = rng.standard_normal(self.normal.shape[1:], dtype=np.float32)
        self.uniform[env] = rng.random(self.uniform.shape[1:], dtype=np.float32)
        return start

    def at(
        self, time: Int[np.ndarray, " N"], like: Tensor
    ) -> tuple[Float[Tensor, "N z"], Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Returns the noise of every environment's own step: of z, of its component, of the reward."""
        rows, step = np.arange(len(time)), np.minimum(time, self.normal.shape[1] - 1)
        normal = torch.from_numpy(self.normal[rows, step]).to(like)
        uniform = torch.from_numpy(self.uniform[rows, step]).to(like)
        return normal, uniform[:, 0], uniform[:, 1]
