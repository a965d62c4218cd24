"""``AIME/MetaDMC-v0``: control tasks whose reward or dynamics are hidden; for meta-learning.

An environment runs one family (`aime_agent.envs.meta_tasks`). All its tasks have the same spaces and
the same observations; what differs (a target speed, a direction, a goal, masses and forces) shows
only in rewards and motion. So the reacher does not observe the way to its target, and targets are
not drawn in observations; otherwise there would be nothing to infer.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from jaxtyping import UInt8

from aime_agent.envs.dm_control import DmControlEnv, Observation
from aime_agent.envs.episodes import task_option
from aime_agent.envs.meta_rewards import REWARDS
from aime_agent.envs.meta_tasks import MetaTask, family_tasks, find_family, find_task
from aime_agent.envs.meta_worlds import place_goal, rescaled_model, show_goal
from aime_agent.errors import ConfigError

_SHOWS_THE_GOAL = "to_target"


class MetaDMCEnv(gymnasium.Env[Observation, np.ndarray], EzPickle):
    """``gymnasium.make("AIME/MetaDMC-v0", family="cheetah-vel")``.

    Args:
        family: One of `aime_agent.envs.meta_tasks.FAMILIES`.
        task: The task of all episodes, or its name; None draws one of the split for each.
        split: ``train``, ``val`` or ``test``.
        max_steps: Agent steps until an episode is truncated; None for the suite's 1000 frames.
        render_mode: None or ``rgb_array``. These pictures show the goal; observations do not.
        **settings: Fields of `aime_agent.envs.dm_control.DmControlConfig`; ``observation`` is
            ``state`` if not given.

    Raises:
        ConfigError: there is no such family, split or task.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        family: str = "cheetah-vel",
        task: MetaTask | str | None = None,
        split: str = "train",
        max_steps: int | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        EzPickle.__init__(self, family, task, split, max_steps, render_mode, **settings)
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, found {max_steps}")
        self.family, self.max_steps, self.render_mode = family, max_steps, render_mode
        self.tasks = family_tasks(family, split)
        self._given = None if task is None else self._as_task(task)
        self._task = self._given or self.tasks[0]
        kind = find_family(family)
        settings = {"observation": "state", **settings}
        self._world = DmControlEnv(
            kind.domain, kind.task, render_mode=render_mode, adjust=self._hide, **settings
        )
        self.metadata = self._world.metadata
        self.action_space = self._world.action_space
        self.observation_space = self._world.observation_space
        self._rescaled_for: MetaTask | None = None
        self._steps_left = 0

    @property
    def task(self) -> MetaTask:
        """The task of this episode."""
        return self._task

    @property
    def physics(self) -> Any:
        """dm_control's physics."""
        return self._world.physics

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins an episode of a task.

        Args:
            seed: Of initial states and of the tasks that are drawn.
            options: ``{"task": MetaTask or name}`` sets the task of this and all following
                episodes; ``{"task": None}`` has one drawn for each again.

        Raises:
            ConfigError: another option, or a task of another family.
        """
        super().reset(seed=seed)
        options = task_option(options)
        if "task" in options:
            task = options["task"]
            self._given = None if task is None else self._as_task(task)
        drawn = self.tasks[int(self.np_random.integers(len(self.tasks)))]
        self._task = self._given or drawn
        self._rescale()
        observation, info = self._world.reset(seed=seed)
        self._steps_left = self.max_steps or self._world.episode_steps
        return observation, {**info, "task": self._task.name}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Repeats ``action`` for the world's ``action_repeat`` frames; the rewards are summed."""
        if not self._steps_left:
            raise ResetNeeded("MetaDMC: the episode has not begun or is over; call reset")
        observation, reward, terminated, truncated, info = self._world.step(action)
        self._steps_left -= 1
        truncated = truncated or not (self._steps_left or terminated)
        if terminated or truncated:
            self._steps_left = 0
        return observation, reward, terminated, truncated, {**info, "task": self._task.name}

    def render(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """Returns a picture for people, who may see what a policy may not."""
        if not self._has_goal:
            return self._world.render()
        show_goal(self.physics, visible=True)
        picture = self._world.render()
        show_goal(self.physics, visible=False)
        return picture

    def close(self) -> None:
        """Frees physics and OpenGL contexts."""
        self._world.close()

    @property
    def _has_goal(self) -> bool:
        return self.family.endswith("-goal")

    def _as_task(self, task: MetaTask | str) -> MetaTask:
        if isinstance(task, str):
            return find_task(self.family, task)
        if task.family != self.family:
            raise ConfigError(
                f"task must be of family {self.family!r}, found {task.name!r} of {task.family!r}"
            )
        return task

    def _rescale(self) -> None:
        """Compiles the model of a task with hidden dynamics, if the last one was another."""
        if self.family.endswith("-dynamics") and self._task != self._rescaled_for:
            domain = find_family(self.family).domain
            self.physics.reload_from_xml_string(*rescaled_model(domain, *self._task.values))
            self._rescaled_for = self._task

    def _hide(self, dm: Any) -> None:
        """Puts this task's reward, goal and observation in the place of the suite's."""
        suite, rule = dm.task, REWARDS.get(self.family)
        begin, observe = suite.initialize_episode, suite.get_observation

        def begin_with_goal(physics: Any) -> None:
            begin(physics)
            place_goal(physics, self.family, self._task.values)
            show_goal(physics, visible=False)

        def observe_no_goal(physics: Any) -> dict[str, Any]:
            return {key: value for key, value in observe(physics).items() if key != _SHOWS_THE_GOAL}

        if rule is not None:
            suite.get_reward = lambda physics: rule(physics, self._task.values)
        if self._has_goal:
            suite.initialize_episode = begin_with_goal
            suite.get_observation = observe_no_goal


class MetaTasks:
    """Tasks of one family and split to meta-learn from or to test with.

    Args:
        family: One of `aime_agent.envs.meta_tasks.FAMILIES`.
        split: ``train``, ``val`` or ``test``.
        seed: Of the draws; which tasks a split holds does not depend on it.
        **settings: For the environments, see `MetaDMCEnv`.
    """

    def __init__(self, family: str, split: str = "train", seed: int = 0, **settings: Any) -> None:
        self.name, self.split = family, split
        self.tasks = family_tasks(family, split)
        self._rng = np.random.default_rng(seed)
        self._settings = settings

    def sample_task_batch(self, n_tasks: int) -> list[MetaTask]:
        """Draws tasks, each once unless there are too few."""
        count = len(self.tasks)
        picks = self._rng.choice(count, n_tasks, replace=n_tasks > count)
        return [self.tasks[int(pick)] for pick in picks]

    def make_env(self, task: MetaTask | None = None) -> MetaDMCEnv:
        """Makes an environment of this task, or of one of the split drawn for every episode."""
        return MetaDMCEnv(self.name, task, self.split, **self._settings)
