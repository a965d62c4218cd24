"""Steps per second in the learned world, against the real environment, on one processor thread.

    MUJOCO_GL=egl OMP_NUM_THREADS=1 python -m benchmarks.latent --out benchmarks/results/latent.json

Both sides count agent steps at the same action repeat. The world is a preset of the size of
humanoid-walk (21 actions), untrained: speed does not depend on the weights.
"""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from aime_agent.envs.latent_vector import LatentVectorEnv
from aime_agent.envs.make import make_env
from aime_agent.training.evaluate import versions
from aime_agent.training.runfolder import machine
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset
from benchmarks import timing

SIZES = (1, 16, 256, 1024)
QUALITIES = ("standard", "fast")
STEPS = {1: 200, 16: 100, 256: 20, 1024: 10}
"""Steps per repeat."""
REAL_STEPS, REPEAT = 5, 2
TARGET = 500
"""Latent steps at N = 256 per real step at ``standard``."""


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to measure."""

    preset: str = "small"
    """Size of the world."""
    task: str = "humanoid-walk"
    """The real environment, and the world's action size."""
    repeats: int = 7
    """Rounds, least of which counts."""
    out: Path | None = None
    """JSON file to write."""


def latent(model, num_envs, rounds, **settings):
    """Returns a function that takes ``STEPS[num_envs]`` steps of one dream in a batch.

    The horizon is long enough for no reset to fall into the ``rounds``.
    """
    size = model.config.image_size
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, size, size, 3), dtype=np.uint8)
    horizon = rounds * STEPS[num_envs] + 1
    env = LatentVectorEnv(num_envs, model, start=frames, horizon=horizon, **settings)
    env.reset(seed=0)
    actions = env.action_space.sample()

    def work():
        for _ in range(STEPS[num_envs]):
            env.step(actions)

    return work


def real(task, quality):
    """Returns a function that takes ``REAL_STEPS`` steps of the real environment, and the env."""
    env = make_env(task, action_repeat=REPEAT, render_quality=quality)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)

    def work():
        for _ in range(REAL_STEPS):
            *_, truncated, _ = env.step(action)
            if truncated:
                env.reset()

    return work, env


def decoder_calls(model):
    """Counts how often the decoder runs in 20 steps that nobody looks at, and in one picture."""
    calls = []
    handle = model.decoder.patches
    model.decoder.patches = lambda *a: calls.append(1) or handle(*a)
    size = model.config.image_size
    frames = np.zeros((1, 1, size, size, 3), np.uint8)
    env = LatentVectorEnv(4, model, start=frames, render_mode="rgb_array", horizon=100)
    env.reset(seed=0)
    for _ in range(20):
        env.step(env.action_space.sample())
    blind = len(calls)
    env.render()
    del model.decoder.patches
    return {"steps": blind, "render": len(calls) - blind}


def measure(args):
    """Returns all figures."""
    worlds, envs = {}, []
    for quality in QUALITIES:
        worlds[quality], env = real(args.task, quality)
        envs.append(env)
    actions = envs[0].action_space.shape[0]
    model = AimeWorldModel(preset(args.preset, action_dim=actions)).eval()
    rounds = args.repeats + 1
    works = {f"N={n}": latent(model, n, rounds) for n in SIZES}
    works["N=256, slots"] = latent(model, 256, rounds, observation="slots")
    times = timing.alternate({**works, **worlds}, args.repeats)
    rates = {f"N={n}": n * STEPS[n] / times[f"N={n}"].least for n in SIZES}
    rates["N=256, slots"] = 256 * STEPS[256] / times["N=256, slots"].least
    rates |= {q: REAL_STEPS / times[q].least for q in QUALITIES}
    for env in envs:
        env.close()
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "preset": args.preset,
        "task": args.task,
        "action_repeat": REPEAT,
        "steps_per_cpu_second": rates,
        "ratio": {
            q: {k: rates[k] / rates[q] for k in rates if k not in QUALITIES} for q in QUALITIES
        },
        "target_ratio": TARGET,
        "decoder_calls": decoder_calls(model),
        "times": {k: v._asdict() for k, v in times.items()},
        "versions": versions(),
        "machine": machine(),
    }


def table(found):
    """Returns the figures as Markdown."""
    lines = ["| | steps per CPU second | ms per step and environment | × standard | × fast |"]
    lines.append("|---|---|---|---|---|")
    for name, rate in found["steps_per_cpu_second"].items():
        label = f"real {found['task']}, `{name}`" if name in QUALITIES else name
        ratios = [found["ratio"][q].get(name) for q in QUALITIES]
        shown = " | ".join("" if r is None else f"{r:,.0f}" for r in ratios)
        lines.append(f"| {label} | {rate:,.0f} | {1000 / rate:.3f} | {shown} |")
    return "\n".join(lines)


def main(args):
    """Measures, prints, writes."""
    torch.set_num_threads(1)
    found = measure(args)
    print(table(found))
    print(f"decoder calls: {found['decoder_calls']}")
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args))
