"""Time and difference of the render qualities, as docs/environments.md reports them.

    MUJOCO_GL=egl OMP_NUM_THREADS=1 python benchmarks/render_quality.py

Processor milliseconds of all threads per 64-pixel picture, best of the repeats; mean absolute
difference and share of values off by more than 8, of 255, against ``standard`` in the same states.
"""

import argparse
import time

import numpy as np

from aime_agent.envs.make import make_env
from aime_agent.envs.rendering import QUALITIES

TASKS = ("cartpole-swingup", "walker-walk", "humanoid-walk")


def pictures(task, quality, states):
    """Returns pictures along one seeded episode, and the processor time of the fastest."""
    env = make_env(task, render_quality=quality)
    env.action_space.seed(0)
    env.reset(seed=0)
    look = env.get_wrapper_attr("current_observation")
    seen, times = [], []
    for _ in range(states):
        env.step(env.action_space.sample())
        start = time.process_time()
        seen.append(look())
        times.append(time.process_time() - start)
    env.close()
    return np.array(seen, dtype=np.float64), 1000 * min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--states", type=int, default=16, help="pictures per task and quality")
    states = parser.parse_args().states
    print("| task | quality | ms a frame | mean difference | off by more than 8 |")
    print("|---|---|---|---|---|")
    for task in TASKS:
        standard = None
        for quality in QUALITIES:
            seen, milliseconds = pictures(task, quality, states)
            standard = seen if standard is None else standard
            off = np.abs(seen - standard)
            print(
                f"| {task} | {quality} | {milliseconds:.1f} | {off.mean():.2f} "
                f"| {100 * (off > 8).mean():.1f} % |"
            )


if __name__ == "__main__":
    main()
