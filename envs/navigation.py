"""``AIME/Navigation2D-v0``: a point in the plane looks for a goal that it cannot see.

The point mass of Finn et al. (2017, §5.3): it starts at the origin, an action moves each coordinate
by at most 0.1, and the reward is minus the distance to the goal after the step,

    p_{t+1} = p_t + 0.1 a_t,    r_t = -‖p_{t+1} - g‖,    g uniform in [-0.5, 0.5]²

The goal stays the same within a task and is no part of the observation: only rewards tell where it is.

What a return over 50 steps means (mean over goals): a Gaussian policy of unit deviation, which is what
an untrained network is, wanders off and gets -28.8; standing still gets -19.1, the best that can be
had without knowing the goal; walking straight to the goal gets -0.5. These follow from the constants
alone (the mean distance of the goal is 0.383), and the tests hold them.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from jaxtyping import Float32, UInt8

from aime_agent.configs import override
from aime_agent.envs.episodes import task_option
from aime_agent.envs.navigation_picture import draw_plane
from aime_agent.errors import ConfigError, DataError

STEP = 0.1
GOAL_RANGE = 0.5
NEAR = 0.01
Position = Float32[np.ndarray, "2"]


@dataclass(frozen=True)
class Navigation2DTask:
    """One hidden goal."""

    goal: tuple[float, float]

    @property
    def name(self) -> str:
        """The goal as text that may be part of a file's name."""
        return "goal_{:+.4f}_{:+.4f}".format(*self.goal)


@dataclass(frozen=True, kw_only=True)
class NavigationConfig:
    """Settings of `Navigation2DEnv`.

    Attributes:
        max_steps: After so many steps an episode is truncated.
        end_at_goal: Whether an episode also ends (terminates) within 0.01 of the goal, as in the
            paper; off, all returns are sums of equally many rewards.
    """

    max_steps: int = 50
    end_at_goal: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, found {self.max_steps}")


class Navigation2DEnv(gymnasium.Env[Position, np.ndarray], EzPickle):
    """``gymnasium.make("AIME/Navigation2D-v0", task=(0.3, -0.2))``.

    Args:
        task: The goal of all episodes; None draws one for each.
        config: Settings; keywords override them.
        render_mode: None, ``ansi`` or ``rgb_array``.
        **overrides: Fields of `NavigationConfig`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        task: Any = None,
        config: NavigationConfig | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        EzPickle.__init__(self, task, config, render_mode, **overrides)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode must be ansi or rgb_array, found {render_mode!r}")
        self.config = c = override(config or NavigationConfig(), **overrides)
        self.render_mode = render_mode
        reach = c.max_steps * STEP
        self.observation_space = spaces.Box(-reach, reach, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._given = None if task is None else _as_task(task)
        self._task = self._given
        self._path: list[np.ndarray] = []
        self._running = False

    @property
    def task(self) -> Navigation2DTask:
        """The hidden goal of this episode."""
        if self._task is None:
            raise ResetNeeded("Navigation2D: reset draws the first goal")
        return self._task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Position, dict[str, Any]]:
        """Puts the point back to the origin.

        Args:
            seed: Of the goals that are drawn.
            options: ``{"task": Navigation2DTask or goal}`` sets the goal of this and all following
                episodes; ``{"task": None}`` has one drawn for each again.

        Raises:
            ConfigError: another option, or a goal that is not two finite numbers.
        """
        super().reset(seed=seed)
        options = task_option(options)
        if "task" in options:
            self._given = None if options["task"] is None else _as_task(options["task"])
        self._task = self._given or _drawn(self.np_random)
        self._path = [np.zeros(2)]
        self._running = True
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[Position, float, bool, bool, dict[str, Any]]:
        """Moves the point by a tenth of the action."""
        if not self._running:
            raise ResetNeeded("Navigation2D: the episode has not begun or is over; call reset")
        self._path.append(self._path[-1] + STEP * _checked(action))
        info = self._info()
        terminated = self.config.end_at_goal and info["distance"] < NEAR
        truncated = not terminated and len(self._path) > self.config.max_steps
        self._running = not (terminated or truncated)
        return self._observation(), -info["distance"], terminated, truncated, info

    def render(self) -> str | UInt8[np.ndarray, "H W 3"] | None:
        """Returns path and goal, as text or picture; people may see what a policy may not."""
        if self.render_mode is None:
            return None
        steps = len(self._path) - 1
        if self.render_mode == "rgb_array":
            return draw_plane(np.array(self._path), np.array(self.task.goal), GOAL_RANGE)
        (x, y), (goal_x, goal_y) = self._path[-1], self.task.goal
        return (
            f"step {steps} of {self.config.max_steps}: at ({x:+.3f}, {y:+.3f}), "
            f"goal ({goal_x:+.3f}, {goal_y:+.3f}), distance {self._distance():.3f}\n"
        )

    def _distance(self) -> float:
        return float(np.linalg.norm(self._path[-1] - self.task.goal))

    def _observation(self) -> Position:
        return self._path[-1].astype(np.float32)

    def _info(self) -> dict[str, Any]:
        return {"task": self.task.name, "distance": self._distance()}


class NavigationTasks:
    """Goals to meta-learn from; another seed gives the goals to test with.

    Args:
        seed: Of the draws.
        **settings: Fields of `NavigationConfig`, and ``render_mode``, for the environments.
    """

    name = "navigation2d"

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        self._rng = np.random.default_rng(seed)
        self._settings = settings

    def sample_task_batch(self, n_tasks: int) -> list[Navigation2DTask]:
        """Draws goals."""
        return [_drawn(self._rng) for _ in range(n_tasks)]

    def make_env(self, task: Navigation2DTask | None = None) -> Navigation2DEnv:
        """Makes an environment with this goal, or with one drawn for every episode."""
        return Navigation2DEnv(task, **self._settings)


def _drawn(rng: np.random.Generator) -> Navigation2DTask:
    x, y = rng.uniform(-GOAL_RANGE, GOAL_RANGE, 2)
    return Navigation2DTask((float(x), float(y)))


def _as_task(task: Any) -> Navigation2DTask:
    if isinstance(task, Navigation2DTask):
        return task
    goal = np.asarray(task, dtype=np.float64)
    if goal.shape != (2,) or not np.isfinite(goal).all():
        raise ConfigError(f"task must be a Navigation2DTask or two finite numbers, found {task!r}")
    return Navigation2DTask((float(goal[0]), float(goal[1])))


def _checked(action: Any) -> np.ndarray:
    value = np.asarray(action, dtype=np.float64)
    if value.shape != (2,):
        raise DataError(f"action must have shape (2,), found {value.shape}")
    if not np.abs(value).max() <= 1.0:
        raise DataError(f"action must be finite and within [-1, 1], found {value.tolist()}")
    return value
