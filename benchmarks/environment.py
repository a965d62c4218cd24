"""What the environment's wrappers cost on top of dm_control itself."""

import numpy as np

from aime_agent.envs import gl
from aime_agent.envs.make import make_env
from aime_agent.envs.rendering import style_model
from aime_agent.envs.suite import split_task

STEPS = 10
"""Actions per block."""
REPEAT, SIDE = 2, 64


def blocks(task, quality):
    """Returns two functions that take the same steps and pictures: wrapped, and bare dm_control.

    Both draw with the same settings and keep their camera (`physics.render` makes a new one for
    every picture), so what differs is the wrappers.
    """
    env = make_env(task, image_size=SIDE, action_repeat=REPEAT, render_quality=quality)
    suite = gl.import_after_choice("dm_control.suite")
    domain, name = split_task(task)
    bare = suite.load(domain, name, task_kwargs={"random": 0})
    style_model(bare.physics.model, quality, (SIDE, SIDE))
    spec = bare.action_spec()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (STEPS, *spec.shape)).astype(np.float32)
    centre, half = (spec.minimum + spec.maximum) / 2, (spec.maximum - spec.minimum) / 2
    camera = gl.import_after_choice("dm_control.mujoco.engine").Camera(
        bare.physics, height=SIDE, width=SIDE, camera_id=0
    )
    env.reset(seed=0)
    bare.reset()

    def wrapped():
        for action in actions:
            *_, over, cut, _ = env.step(action)
            if over or cut:
                env.reset()

    def direct():
        for action in actions:
            for _ in range(REPEAT):
                last = bare.step(centre + half * action)
            camera.render().copy()
            if last.last():
                bare.reset()

    return wrapped, direct
