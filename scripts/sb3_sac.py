"""Trains Stable-Baselines3's SAC on the real task, on what a frozen world model believes of the frames.

Usage: python scripts/sb3_sac.py runs/quickstart --observation objects
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from tyro.conf import Positional

from aime_agent import AimeAgent
from aime_agent.envs import BeliefObservation
from aime_agent.policies import SlotSACPolicy, load_policy, save_policy


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which world model, and how long."""

    run: Positional[Path]
    """Run folder or checkpoint whose world model filters the frames of its task."""
    observation: str = "belief"
    """belief (flat), or objects (a dictionary with slots: critics get a value per slot)."""
    steps: int = 3_000
    """Real actions."""
    episodes: int = 1
    """Episodes to play afterwards."""
    out: Path = Path("runs/sb3-sac")
    """Folder of the policy: safetensors and JSON, nothing to unpickle."""


def main(args: Args) -> None:
    real = AimeAgent.from_pretrained(args.run).make_env()
    env = Monitor(BeliefObservation(real, args.run, observation=args.observation))
    flat = args.observation == "belief"
    policy, kwargs = ("MlpPolicy", {}) if flat else (SlotSACPolicy, {"proposals": 16})
    model = SAC(
        policy, env, policy_kwargs=kwargs, learning_starts=100, buffer_size=50_000, verbose=1
    )
    model.learn(args.steps)

    loaded = load_policy(save_policy(model, args.out), world=env.get_wrapper_attr("world"))
    mean, std = evaluate_policy(loaded, env, n_eval_episodes=args.episodes)
    print(f"mean return {mean:.1f} ± {std:.1f} over {args.episodes} episodes; policy in {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
