"""A toy world and a toy agent: everything a run needs, in milliseconds."""

import hashlib
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from aime_agent.training.collector import VectorLane
from aime_agent.training.parts import Factories
from aime_agent.training.seeding import torch_generator


class ToyEnv(gymnasium.Env):
    """A point on a torus, seen as a coloured square; episodes of 7 to 13 steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point = self.np_random.uniform(-1, 1, 2)
        self.left = int(self.np_random.integers(7, 14))
        return self.current_observation(), {}

    def step(self, action):
        self.point = (self.point + 0.2 * action + 0.05 * self.np_random.normal(size=2) + 1) % 2 - 1
        self.left -= 1
        terminated = bool(self.left == 0 and self.point[0] > 0)
        reward = float(-np.abs(self.point).sum())
        return self.current_observation(), reward, terminated, self.left == 0 and not terminated, {}

    def current_observation(self):
        frame = np.zeros((32, 32, 3), np.uint8)
        x, y = ((self.point + 1) * 14).astype(int)
        frame[y : y + 4, x : x + 4] = 255
        frame[:, :, 2] = int((self.point[0] + 1) * 100)
        return frame

    def fast_forward(self, seed, actions):
        self.reset(seed=seed)
        for action in actions:
            self.step(action)


class ToyState(NamedTuple):
    hidden: Tensor


class ToyAgent:
    """Predicts rewards from mean colours; acts by a leaky sum of them, with noise by step."""

    def __init__(self, config, action_dim):
        self.config = config
        self.net = torch.nn.Linear(3, 1)
        self.actor = torch.nn.Linear(3, action_dim)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.offset = torch.zeros(3)

    def initial_state(self, batch_size):
        return ToyState(torch.zeros(batch_size, 3))

    @torch.no_grad()
    def act(self, observations, state, is_first, step, deterministic=False):
        seen = torch.from_numpy(observations).float().mean((1, 2)) / 255
        kept = torch.where(torch.from_numpy(is_first)[:, None], 0.0, state.hidden)
        hidden = 0.9 * kept + seen
        noise = torch.randn(
            len(hidden), 2, generator=torch_generator(self.config.seed, "act", step)
        )
        return torch.tanh(self.actor(hidden) + noise).numpy(), ToyState(hidden)

    def begin(self, frames):
        self.offset = frames.float().mean((0, 2, 3)) / 255

    def update(self, batch, step):
        seen = batch.observations.float().mean((3, 4)) / 255 - self.offset
        dropout = torch.rand(seen.shape) < 0.9  # the global generator, on purpose
        loss = (self.net(seen * dropout)[..., 0] - batch.rewards).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "step": float(step), "weights": self.net.weight}

    def images(self, batch):
        return {"frame": batch.observations[0, 0].permute(1, 2, 0).numpy()}

    def state_dict(self):
        moments = {
            f"adam.{i}.{k}": v
            for i, state in self.optimizer.state_dict()["state"].items()
            for k, v in state.items()
        }
        weights = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        actor = {f"actor.{k}": v for k, v in self.actor.state_dict().items()}
        return {**weights, **actor, **moments, "offset": self.offset}

    def load_state_dict(self, tensors):
        pick = lambda p: {k[len(p) :]: v for k, v in tensors.items() if k.startswith(p)}  # noqa: E731
        self.net.load_state_dict(pick("net."))
        self.actor.load_state_dict(pick("actor."))
        self.offset = tensors["offset"]
        state = {}
        for key, value in pick("adam.").items():
            i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def config_dict(self):
        return {"kind": "toy"}

    def digest(self):
        data = b"".join(v.detach().numpy().tobytes() for _, v in sorted(self.state_dict().items()))
        return hashlib.sha256(data).hexdigest()


def lane(config, env):
    return VectorLane(SyncVectorEnv([ToyEnv], autoreset_mode=AutoresetMode.DISABLED))


def evaluation(config):
    return lambda agent: {"noise": float(torch.rand(()))}


FACTORIES = Factories(agent=ToyAgent, lane=lane, evaluate=evaluation)
SETTINGS = {
    "frames": 800,
    "prefill_frames": 100,
    "num_envs": 2,
    "pretrain_updates": 7,
    "batch_size": 3,
    "sequence_length": 5,
    "checkpoint_every": 60,
    "eval_every_frames": 150,
    "log_every": 4,
    "image_size": 32,
    "tensorboard": False,
}
