"""Training speed of Stable-Baselines3 on frozen beliefs against its own CNN on stacked frames.

    MUJOCO_GL=egl OMP_NUM_THREADS=1 python -m benchmarks.sb3 --out benchmarks/results/sb3.json

Processor seconds per action of `learn` (acting, simulating, rendering, filtering, gradients), least of
several alternated repeats, one thread. SAC makes one update of 256 rows per action, PPO ten epochs over
its rollout in batches of 64. ``environment`` is the same task with random actions and nobody learning.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from aime_agent.envs.beliefs import BeliefVecEnv
from aime_agent.envs.make import make_env
from aime_agent.policies.extractors import BeliefExtractor
from aime_agent.policies.slots import SlotActorCriticPolicy, SlotSACPolicy
from aime_agent.training.evaluate import versions
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset
from benchmarks.timing import alternate

TASK, SIDE, ACTIONS = "walker-walk", 64, 6
SAC_STEPS, PPO_STEPS = 16, 128


def real():
    return DummyVecEnv([lambda: make_env(TASK, image_size=SIDE, render_quality="fast")])


def sac(policy, env, **kwargs):
    return SAC(
        policy, env, learning_starts=1, buffer_size=2_000, batch_size=256, policy_kwargs=kwargs
    )


def ppo(policy, env, **kwargs):
    return PPO(policy, env, n_steps=PPO_STEPS, batch_size=64, n_epochs=10, policy_kwargs=kwargs)


def learners(world):
    """Learners by name, with the actions of one repeat."""
    beliefs = {"features_extractor_class": BeliefExtractor}
    found = {}
    for name, make, steps in (("SAC", sac, SAC_STEPS), ("PPO", ppo, PPO_STEPS)):
        slots = SlotSACPolicy if name == "SAC" else SlotActorCriticPolicy
        flat, places = (BeliefVecEnv(real(), world, kind) for kind in ("belief", "objects"))
        found[f"{name}, beliefs"] = (make("MlpPolicy", flat, **beliefs), steps)
        found[f"{name}, beliefs and slots"] = (make(slots, places), steps)
        found[f"{name}, SB3's CNN on 3 frames"] = (
            make("CnnPolicy", VecFrameStack(real(), 3)),
            steps,
        )
    return found


def random_actions(env, steps):
    env.reset()
    env.action_space.seed(0)

    def play():
        for _ in range(steps):
            env.step(env.action_space.sample()[None])

    return play


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--world", help="run or model; none for one of preset small, untrained")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.world is None:
            AimeWorldModel(preset("small", action_dim=ACTIONS)).save_pretrained(folder)
        made = learners(args.world or folder)
    work = {
        name: (lambda m=model, n=steps: m.learn(n, reset_num_timesteps=False))
        for name, (model, steps) in made.items()
    }
    work["environment"] = random_actions(real(), SAC_STEPS)
    counts = {name: steps for name, (_, steps) in made.items()} | {"environment": SAC_STEPS}
    times = alternate(work, args.repeats)
    rows = {
        name: {
            "milliseconds_per_action": round(1000 * times[name].least / counts[name], 2),
            "actions_per_second": round(counts[name] / times[name].least, 1),
        }
        for name in work
    }
    print("| learner | ms per action | actions per processor second |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['milliseconds_per_action']} | {row['actions_per_second']} |")
    if args.out:
        facts = {"task": TASK, "side": SIDE, "repeats": args.repeats, "versions": versions()}
        args.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
