"""Rewards that depend on a task's hidden values, in the forms of the control suite's own.

Speeds are rewarded as there (a linear `tolerance`, times standing upright). What differs: a velocity task
wants one speed instead of at least one, so that too fast is wrong as well,

    r = max(0, 1 - |v - v*| / max(v*, 1))

and goals have a margin of 0.2 m, since nothing can be inferred from a reward that is 0 everywhere
but at the goal. Walk, run and stand equal the suite's rewards (a test compares).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from dm_control.utils.rewards import tolerance

Values = tuple[float, ...]
Reward = Callable[[Any, Values], float]

_INFINITE = float("inf")
_WALKER_HEIGHT, _HUMANOID_HEIGHT = 1.2, 1.4
_GOAL_MARGIN = 0.2
_DIRECTION_SPEED = 1.0


def exactly(speed: float, wanted: float) -> float:
    """Returns 1 at the wanted speed and 0 at rest, or from 1 m/s away if it is slow."""
    bounds = (wanted, wanted)
    return tolerance(speed, bounds, max(abs(wanted), 1.0), "linear", value_at_margin=0.0)


def cheetah_velocity(physics: Any, values: Values) -> float:
    """Returns the reward of running at one speed."""
    return exactly(float(physics.speed()), values[0])


def walker_velocity(physics: Any, values: Values) -> float:
    """Returns the reward of walking upright at one speed."""
    move = exactly(float(physics.horizontal_velocity()), values[0])
    return _walker_standing(physics) * (5 * move + 1) / 6


def walker_motion(physics: Any, values: Values) -> float:
    """Returns the suite's reward: at least this speed, backwards if negative; 0 is to stand."""
    wanted = abs(values[0])
    if wanted == 0:
        return _walker_standing(physics)
    speed = float(np.sign(values[0]) * physics.horizontal_velocity())
    move = tolerance(speed, (wanted, _INFINITE), wanted / 2, "linear", value_at_margin=0.5)
    return _walker_standing(physics) * (5 * move + 1) / 6


def humanoid_velocity(physics: Any, values: Values) -> float:
    """Returns the reward of moving upright at one speed, anywhere."""
    move = exactly(_horizontal_speed(physics), values[0])
    return _humanoid_standing(physics) * (5 * move + 1) / 6


def humanoid_motion(physics: Any, values: Values) -> float:
    """Returns the suite's reward: at least this speed, anywhere; 0 is to stand still."""
    if values[0] == 0:
        still = tolerance(physics.center_of_mass_velocity()[:2], margin=2).mean()
        return _humanoid_standing(physics) * float(still)
    return _humanoid_standing(physics) * _move(_horizontal_speed(physics), values[0])


def humanoid_direction(physics: Any, values: Values) -> float:
    """Returns the reward of moving upright at 1 m/s or more along one direction of the plane."""
    way = np.array([np.cos(values[0]), np.sin(values[0])])
    along = float(physics.center_of_mass_velocity()[:2] @ way)
    return _humanoid_standing(physics) * _move(along, _DIRECTION_SPEED)


def point_mass_goal(physics: Any, _: Values) -> float:
    """Returns the reward of being near the goal with little force."""
    near = _near(physics.mass_to_target_dist(), physics.named.model.geom_size["target", 0])
    return near * _small_control(physics)


def reacher_goal(physics: Any, _: Values) -> float:
    """Returns the reward of having the finger near the goal."""
    radii = physics.named.model.geom_size[["target", "finger"], 0].sum()
    return _near(physics.finger_to_target_dist(), radii)


REWARDS: dict[str, Reward] = {
    "cheetah-vel": cheetah_velocity,
    "walker-vel": walker_velocity,
    "walker-dir": walker_motion,
    "walker-body": walker_motion,
    "humanoid-vel": humanoid_velocity,
    "humanoid-dir": humanoid_direction,
    "humanoid-body": humanoid_motion,
    "point_mass-goal": point_mass_goal,
    "reacher-goal": reacher_goal,
}
"""By family; the others keep the suite's."""


def _near(distance: Any, radius: Any) -> float:
    return tolerance(float(distance), (0.0, float(radius)), _GOAL_MARGIN)


def _walker_standing(physics: Any) -> float:
    height = float(physics.torso_height())
    standing = tolerance(height, (_WALKER_HEIGHT, _INFINITE), _WALKER_HEIGHT / 2)
    return (3 * standing + (1 + float(physics.torso_upright())) / 2) / 4


def _humanoid_standing(physics: Any) -> float:
    height, upright = float(physics.head_height()), float(physics.torso_upright())
    standing = tolerance(height, (_HUMANOID_HEIGHT, _INFINITE), _HUMANOID_HEIGHT / 4)
    upright = tolerance(upright, (0.9, _INFINITE), 1.9, "linear", value_at_margin=0.0)
    return _small_control(physics) * (standing * upright)


def _small_control(physics: Any) -> float:
    controls = tolerance(physics.control(), margin=1, value_at_margin=0, sigmoid="quadratic")
    return (4 + float(controls.mean())) / 5


def _move(speed: float, wanted: float) -> float:
    move = tolerance(speed, (wanted, _INFINITE), wanted, "linear", value_at_margin=0.0)
    return (5 * move + 1) / 6


def _horizontal_speed(physics: Any) -> float:
    return float(np.linalg.norm(physics.center_of_mass_velocity()[:2]))
