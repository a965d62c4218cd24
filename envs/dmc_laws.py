"""Rows of a law measured in the simulator: states and actions in, MuJoCo's acceleration out.

The tasks of the suite ``dmc`` (`aime_agent.symbolic.laws.DMC`) state their laws with the
constants of the model files. `measured` draws the same inputs, puts them into the physics of the
control suite's task, and reads the acceleration that ``mj_forward`` computes.
"""

from typing import Any, NamedTuple

import numpy as np

from aime_agent.envs import gl
from aime_agent.errors import ConfigError, nearest
from aime_agent.symbolic.samples import Samples, check_samples
from aime_agent.symbolic.tasks import PhysicsTask


class _Rig(NamedTuple):
    """Which task of the suite, and which inputs are which part of its state."""

    domain: str
    task: str
    position: int | None
    velocity: int
    action: int


_RIGS = {
    "dmc_pendulum_accel": _Rig("pendulum", "swingup", position=0, velocity=1, action=2),
    "dmc_point_mass_accel": _Rig("point_mass", "easy", position=None, velocity=0, action=1),
}


def can_measure(task: PhysicsTask) -> bool:
    """Whether there is a simulator behind a task."""
    return task.name in _RIGS


def measured(task: PhysicsTask, rows: int, rng: np.random.Generator) -> Samples:
    """Returns rows that MuJoCo computed; the first joint and the first motor are used.

    Raises:
        ConfigError: the task is no law of a simulator.
    """
    if not can_measure(task):
        raise ConfigError(
            f"task {task.name!r} cannot be measured: no simulator is behind it. "
            f"{nearest(task.name, _RIGS)}"
        )
    rig = _RIGS[task.name]
    low, high = (np.array([v[i] for v in task.inputs])[:, None] for i in (1, 2))
    inputs = rng.uniform(low, high, (len(task.inputs), rows))
    suite = gl.import_after_choice("dm_control.suite")
    physics = suite.load(rig.domain, rig.task).physics
    target = np.array([_acceleration(physics, rig, row) for row in inputs.T])
    return check_samples(Samples(inputs, target), task.names, task.target)


def _acceleration(physics: Any, rig: _Rig, row: np.ndarray) -> float:
    with physics.reset_context():
        if rig.position is not None:
            physics.data.qpos[0] = row[rig.position]
        physics.data.qvel[0] = row[rig.velocity]
        physics.data.ctrl[0] = row[rig.action]
    physics.forward()  # leaving the context computes without the motors
    return float(physics.data.qacc[0])
