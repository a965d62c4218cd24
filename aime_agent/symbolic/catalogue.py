"""All tasks by name and by suite, with the names that the third seed and its library used.

>>> find_task("harmonic_oscillator").law
'm*v**2/2 + k*x**2/2'
"""

from aime_agent.errors import ConfigError, nearest
from aime_agent.symbolic.laws import DMC, FEYNMAN, LAWS
from aime_agent.symbolic.nguyen import NGUYEN
from aime_agent.symbolic.tasks import PhysicsTask

SUITES: dict[str, tuple[PhysicsTask, ...]] = {
    "laws": LAWS,
    "dmc": DMC,
    "feynman": FEYNMAN,
    "nguyen": NGUYEN,
}
TASKS: dict[str, PhysicsTask] = {task.name: task for suite in SUITES.values() for task in suite}
ALIASES = {
    "harmonic_oscillator": "harmonic_oscillator_energy",
    "pendulum": "pendulum_nonlinear",
    "double_pendulum": "double_pendulum_energy",
    "kepler": "kepler_orbit",
    "elastic_collision": "elastic_collision_energy",
    "coulomb": "coulomb_law",
}
"""Names of the seed, of its demonstrations, and short ones."""


def find_task(name: str) -> PhysicsTask:
    """Returns a task by its name or alias.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    full = ALIASES.get(name, name)
    if full not in TASKS:
        hint = nearest(name, [*TASKS, *ALIASES])
        raise ConfigError(f"no task is named {name!r}. {hint}")
    return TASKS[full]


def find_suite(name: str) -> tuple[PhysicsTask, ...]:
    """Returns the tasks of a suite.

    Raises:
        ConfigError: there is no such suite; the message names those there are.
    """
    if name not in SUITES:
        raise ConfigError(f"no suite is named {name!r}. {nearest(name, SUITES)}")
    return SUITES[name]
