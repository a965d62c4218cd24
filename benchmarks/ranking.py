"""Do dreams rank policies as the real environment does?

    MUJOCO_GL=egl OMP_NUM_THREADS=1 python -m benchmarks.ranking runs/quickstart --out benchmarks/results/ranking.json

Random actions, the agent with every other action random, and the agent: mean reward per action in
dreams from starts of the run's own replay, and in whole episodes of the real environment.
"""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tyro.conf import Positional

from aime_agent.agents.aime import AimeAgent
from aime_agent.envs.latent_vector import LatentVectorEnv
from aime_agent.training.evaluate import evaluation_seed, interval, versions
from aime_agent.training.runfolder import machine

SHARES = {"random actions": 1.0, "every other action random": 0.5, "agent": 0.0}


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to measure."""

    run: Positional[str]
    """Run folder or checkpoint."""
    starts: int = 64
    """Dreams per policy."""
    horizon: int = 15
    """Steps of a dream."""
    episodes: int = 5
    """Real episodes per policy."""
    seed: int = 0
    """Of starts, noise and episodes."""
    out: Path | None = None
    """JSON file to write."""


def dreamt(agent, args, share):
    """Returns the mean reward per action of every dream."""
    env = LatentVectorEnv(
        args.starts, args.run, horizon=args.horizon, temperature=0.0, terminate=False
    )
    rng = np.random.default_rng(args.seed)
    observation, _ = env.reset(seed=args.seed)
    total = np.zeros(args.starts)
    for _ in range(args.horizon):
        with torch.no_grad():
            actions = agent.behaviour.actor(torch.from_numpy(observation)).mean.numpy()
        chance = rng.random((args.starts, 1)) < share
        actions = np.where(chance, rng.uniform(-1, 1, actions.shape), actions).clip(-1, 1)
        observation, rewards, *_ = env.step(actions)
        total += rewards
    return tuple((total / args.horizon).tolist())


def lived(agent, args, share):
    """Returns the mean reward per action of every real episode."""
    rng = np.random.default_rng(args.seed)
    env = agent.make_env()
    found = [
        _episode(agent, env, rng, share, evaluation_seed(args.seed, k))
        for k in range(args.episodes)
    ]
    env.close()
    return tuple(found)


def _episode(agent, env, rng, share, seed):
    """Plays one episode; the filter is told the action that was taken, whoever chose it."""
    observation, _ = env.reset(seed=seed)
    state, first, done, rewards = agent.filter.initial_state(1), True, False, []
    while not done:
        belief = agent.filter.observe(
            agent.filter.frames(observation)[None], state, np.array([first])
        )
        with torch.no_grad():
            action = agent.behaviour.actor(belief.features).mean.clamp(-1, 1).numpy()
        if rng.random() < share:
            action = rng.uniform(-1, 1, action.shape).astype(np.float32)
        state, first = agent.filter.advance(belief, action), False
        observation, reward, terminated, truncated, _ = env.step(action[0])
        rewards.append(reward)
        done = terminated or truncated
    return float(np.mean(rewards))


def measure(args):
    """Returns both sides for every policy."""
    agent = AimeAgent.from_pretrained(args.run)
    rows = {}
    for name, share in SHARES.items():
        sides = {"dream": dreamt(agent, args, share), "real": lived(agent, args, share)}
        rows[name] = {
            side: {"mean": float(np.mean(found)), "ci95": interval(found), "values": found}
            for side, found in sides.items()
        }
        print(name, {side: round(rows[name][side]["mean"], 3) for side in sides}, flush=True)
    order = {
        side: sorted(SHARES, key=lambda name: rows[name][side]["mean"])
        for side in ("dream", "real")
    }
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "task": agent.config.task,
        "render_quality": agent.config.render_quality,
        "action_repeat": agent.config.action_repeat,
        "horizon": args.horizon,
        "starts": args.starts,
        "episodes": args.episodes,
        "seed": args.seed,
        "policies": rows,
        "order": order,
        "agree": order["dream"] == order["real"],
        "versions": versions(),
        "machine": machine(),
    }


def main(args):
    """Measures, prints, writes."""
    torch.set_num_threads(1)
    found = measure(args)
    print(f"same order: {found['agree']}")
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args))
