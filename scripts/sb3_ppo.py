"""Trains Stable-Baselines3's PPO inside a learned world, and plays the real task with it.

Usage: python scripts/sb3_ppo.py runs/quickstart --observation slots
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor
from tyro.conf import Positional

from aime_agent import AimeAgent
from aime_agent.envs import BeliefObservation, VectorToSB3


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which world, and how long."""

    run: Positional[Path]
    """Run folder or checkpoint whose world model is dreamt in."""
    observation: str = "belief"
    """belief (flat), slots or objects (dictionaries)."""
    steps: int = 100_000
    """Dreamt actions."""
    num_envs: int = 64
    """Dreams side by side, one forward pass for all."""
    episodes: int = 3
    """Real episodes to play afterwards."""
    out: Path = Path("runs/sb3-ppo.zip")
    """SB3's file."""


def main(args: Args) -> None:
    dreams = gym.make_vec(
        "AIME/LatentWorld-v0", num_envs=args.num_envs, checkpoint=args.run, horizon=50,
        observation=args.observation, autoreset_mode="SameStep",
    )  # fmt: skip
    policy = "MlpPolicy" if args.observation == "belief" else "MultiInputPolicy"
    env = VecMonitor(VectorToSB3(dreams))
    model = PPO(policy, env, n_steps=32, batch_size=256, n_epochs=5, gamma=0.97, verbose=1)
    model.learn(args.steps)
    model.save(args.out)

    real = AimeAgent.from_pretrained(args.run).make_env()
    real = Monitor(BeliefObservation(real, args.run, observation=args.observation))
    mean, std = evaluate_policy(model, real, n_eval_episodes=args.episodes)
    print(f"real task: mean return {mean:.1f} ± {std:.1f} over {args.episodes} episodes")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
