"""Names of the DeepMind Control Suite's tasks and their Gymnasium ids.

Importing this file imports neither mujoco nor dm_control, so that ``import aime_agent`` stays
light. A test compares the table with ``dm_control.suite.ALL_TASKS``.

>>> task_id("walker-walk")
'AIME/walker-walk-v0'
>>> split_task("ball_in_cup-catch")
('ball_in_cup', 'catch')
"""

import gymnasium

from aime_agent.errors import ConfigError, nearest

_TASKS_OF = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "two_poles",
        "three_poles",
    ),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}

SUITE_TASKS: tuple[tuple[str, str], ...] = tuple(
    (domain, task) for domain, tasks in _TASKS_OF.items() for task in tasks
)
"""All (domain, task) pairs, in dm_control's order."""

NAMESPACE = "AIME"
ENTRY_POINT = "aime_agent.envs.dm_control:DmControlEnv"


def task_names() -> tuple[str, ...]:
    """Returns all names that `task_id` knows: ``walker-walk``, and so on."""
    return tuple(f"{domain}-{task}" for domain, task in SUITE_TASKS)


def split_task(name: str) -> tuple[str, str]:
    """Returns (domain, task) of ``walker-walk``.

    Raises:
        ConfigError: the suite has no such task; the message names the nearest ones.
    """
    domain, _, task = name.partition("-")
    if (domain, task) not in SUITE_TASKS:
        raise ConfigError(f"No control suite task is named {name!r}. {nearest(name, task_names())}")
    return domain, task


def task_id(name: str) -> str:
    """Returns the Gymnasium id of ``walker-walk``: ``AIME/walker-walk-v0``."""
    domain, task = split_task(name)
    return f"{NAMESPACE}/{domain}-{task}-v0"


def register_suite() -> None:
    """Registers every task with Gymnasium by a string entry point; does nothing a second time.

    Gymnasium's own order and type checks stay out: the environment refuses a step outside an
    episode itself, also after `fast_forward`, which those wrappers would not see.
    """
    for domain, task in SUITE_TASKS:
        name = task_id(f"{domain}-{task}")
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point=ENTRY_POINT,
                kwargs={"domain": domain, "task": task},
                order_enforce=False,
                disable_env_checker=True,
            )
