"""One task of the DeepMind Control Suite as a Gymnasium environment.

Built on Shimmy (dm_env to Gymnasium) and Gymnasium's `RepeatAction`. Added here: float32 spaces
without 0-d boxes, actions in [-1, 1] for every task, one picture per agent step at a chosen
render quality, the true ``render_fps``, information that is JSON, a spec that is JSON, an error
on a step outside an episode, and the exact replay of an unfinished episode.

A *frame* is one control step of the suite: an agent step is ``action_repeat`` frames.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from gymnasium.wrappers import RepeatAction
from jaxtyping import Float, Int32, UInt8

from aime_agent.configs import override
from aime_agent.envs import gl
from aime_agent.envs.episodes import EpisodeSeeds, Replayable
from aime_agent.envs.rendering import (
    QUALITIES,
    PhysicsRenderer,
    RenderQuality,
    camera_index,
    camera_names,
)
from aime_agent.envs.segmentation import body_labels
from aime_agent.envs.suite import split_task
from aime_agent.errors import ConfigError, DataError

ObservationMode = Literal["pixels", "state", "both"]
Observation = np.ndarray | dict[str, np.ndarray]

MIN_IMAGE_SIZE = 32
# The suite puts no limit on these; 1000 frames, as everywhere else.
_TIME_LIMITS = {"lqr": 30.0}
# Where camera 0 shows too little: from above (quadruped), or the ball alone (dog-fetch).
_USUAL_CAMERAS: dict[str, int | str] = {"quadruped": "y", "dog": "y-axis"}
# This task uploads its terrain to the renderer at every reset, pictures or not.
_ALWAYS_NEEDS_GL = ("quadruped", "escape")


@dataclass(frozen=True, kw_only=True)
class DmControlConfig:
    """Settings of `DmControlEnv`.

    Attributes:
        observation: ``pixels`` is uint8 [H, W, 3], ``state`` a flat float32 vector in the suite's
            order, ``both`` a dictionary of the two.
        image_size: Side of the square picture in pixels, at least 32.
        action_repeat: Frames per agent step; rewards are summed, the last frame is seen.
        camera_id: Index or name; None is the camera usual in the literature.
        render_quality: ``standard``, ``fast`` or ``minimal``; see `aime_agent.envs.rendering`.
        render_width: Width of the picture that `render` returns.
        render_height: Height of it.
    """

    observation: ObservationMode = "pixels"
    image_size: int = 64
    action_repeat: int = 2
    camera_id: int | str | None = None
    render_quality: RenderQuality = "standard"
    render_width: int = 256
    render_height: int = 256

    def __post_init__(self) -> None:
        for name, allowed in (
            ("observation", get_args(ObservationMode)),
            ("render_quality", QUALITIES),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {allowed}, found {getattr(self, name)!r}")
        smallest = {"image_size": MIN_IMAGE_SIZE, "render_width": 1, "render_height": 1}
        for name, least in {**smallest, "action_repeat": 1}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, found {value!r}")


class DmControlEnv(gymnasium.Env[Observation, np.ndarray], Replayable, EzPickle):
    """``gymnasium.make("AIME/walker-walk-v0", image_size=64, action_repeat=2, …)``.

    Nothing is rendered before the first observation that needs it, so that a parent process may
    build the environment for its spaces and fork-safe workers may run it.

    Args:
        domain: Domain of the suite, for example ``walker``.
        task: Task of the domain, for example ``walk``.
        config: Settings; keywords override them.
        render_mode: None, or ``rgb_array`` to have `render` return a larger picture.
        adjust: Is given dm_control's environment before its spaces are read, and may change what its
            task observes and rewards.
        **overrides: Fields of `DmControlConfig`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        domain: str,
        task: str,
        config: DmControlConfig | None = None,
        render_mode: str | None = None,
        adjust: Callable[[Any], None] | None = None,
        **overrides: Any,
    ) -> None:
        EzPickle.__init__(self, domain, task, config, render_mode, adjust, **overrides)
        split_task(f"{domain}-{task}")
        self.config = c = override(config or DmControlConfig(), **overrides)
        self.domain, self.task = domain, task
        self.render_mode = _checked_mode(render_mode)
        self._uses_gl = (domain, task) == _ALWAYS_NEEDS_GL
        if c.observation != "state" or render_mode or self._uses_gl:
            gl.require_pixels(f"{domain}-{task}")
        self._env, self._dm = _load(domain, task, c.action_repeat, adjust)
        self._renderer = self._make_renderer()
        fps = 1.0 / (self._dm.control_timestep() * c.action_repeat)
        self.metadata = {**type(self).metadata, "render_fps": round(fps, 6)}
        self._centre, self._half_range = _action_range(self._dm.action_spec())
        self.action_space = spaces.Box(-1.0, 1.0, self._centre.shape, np.float32)
        self.observation_space = self._make_observation_space()
        self._seeds = EpisodeSeeds()
        self._state: np.ndarray | None = None
        self._running = False

    @property
    def physics(self) -> Any:
        """dm_control's physics."""
        return self._dm.physics

    @property
    def episode_steps(self) -> int:
        """Agent steps in a whole episode."""
        return math.ceil(round(self._dm._step_limit, 6) / self.config.action_repeat)

    @property
    def cameras(self) -> list[str]:
        """Names that ``camera_id`` may take."""
        return camera_names(self.physics.model)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts the next episode, or with ``seed`` a new stream of episodes.

        Returns:
            The observation, and ``episode_seed`` and ``episode_index`` (see
            `aime_agent.envs.episodes`).
        """
        if options:
            raise ConfigError(f"reset takes no options here, found {sorted(options)}")
        super().reset(seed=seed)
        if seed is not None:
            self._seeds.start(seed)
        elif self._seeds.base is None:
            self._seeds.start(int(self.np_random.integers(2**32)))
        info = self._begin()
        return self.current_observation(), info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Repeats ``action`` for ``action_repeat`` frames; the rewards are summed."""
        reward, terminated, truncated, discount = self._advance(action)
        info = {"discount": discount}
        return self.current_observation(), reward, terminated, truncated, info

    def current_observation(self) -> Observation:
        """Returns the observation of the present moment, rendering it if it has pixels."""
        if self._state is None:
            raise ResetNeeded(
                f"{self.domain}-{self.task}: reset comes before the first observation"
            )
        if self.config.observation == "state":
            return self._state
        pixels = self._renderer.picture(self.config.image_size, self.config.image_size)
        return {"pixels": pixels, "state": self._state} if self._both else pixels

    def fast_forward(
        self, seed: int, actions: Sequence[Any] | np.ndarray, episode: int = 0
    ) -> Float[np.ndarray, "steps"]:
        """Brings the environment into the midst of an episode, without rendering.

        Equals, bit for bit, a reset with ``seed``, ``episode`` further resets, and one step per
        action. `current_observation` then shows where it stands.

        Returns:
            The reward of each action.
        """
        super().reset(seed=seed)
        self._seeds.start(seed, episode)
        self._begin()
        return np.array([self._advance(action)[0] for action in actions], dtype=np.float64)

    def render(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """Returns a picture of ``render_height`` × ``render_width``; None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("render needs render_mode='rgb_array' when the env is made")
            return None
        if self._state is None:
            raise ResetNeeded(f"{self.domain}-{self.task}: reset comes before the first picture")
        return self._renderer.picture(self.config.render_width, self.config.render_height)

    def segmentation(self) -> Int32[np.ndarray, "H W"]:
        """Returns the body that each pixel of the present frame shows, 0 for the background.

        Ground truth for evaluation (`aime_agent.envs.segmentation.Segmented`), no observation.
        """
        if self._state is None:
            raise ResetNeeded(f"{self.domain}-{self.task}: reset comes before the first picture")
        side = self.config.image_size
        return body_labels(self._renderer.segments(side, side), self.physics.model)

    def close(self) -> None:
        """Frees physics and OpenGL contexts."""
        self._running = False
        self._renderer.close()
        if not gl.inherited():
            self._env.close()

    @property
    def _both(self) -> bool:
        return self.config.observation == "both"

    def _begin(self) -> dict[str, Any]:
        if self._uses_gl:
            gl.claim(f"{self.domain}-{self.task}")
        episode_seed = self._seeds.next()
        observation, _ = self._env.reset(seed=episode_seed)
        self._state = _flat(observation)
        self._running = True
        return {"episode_seed": episode_seed, "episode_index": self._seeds.episode}

    def _advance(self, action: Any) -> tuple[float, bool, bool, float]:
        if not self._running:
            raise ResetNeeded(
                f"{self.domain}-{self.task}: the episode has not begun or is over; call reset"
            )
        control = self._centre + self._half_range * self._checked_action(action)
        observation, reward, terminated, truncated, info = self._env.step(control)
        self._state = _flat(observation)
        self._running = not (terminated or truncated)
        return float(reward), terminated, truncated, float(info["timestep.discount"])

    def _checked_action(self, action: Any) -> np.ndarray:
        value = np.asarray(action, dtype=np.float32)
        if value.shape != self._centre.shape:
            raise DataError(f"action must have shape {self._centre.shape}, found {value.shape}")
        if not np.abs(value).max() <= 1.0:
            raise DataError(f"action must be finite and within [-1, 1], found {value.tolist()}")
        return value.astype(np.float64)

    def _make_renderer(self) -> PhysicsRenderer:
        c, model = self.config, self.physics.model
        usual = _USUAL_CAMERAS.get(self.domain, 0)
        camera = camera_index(model, usual if c.camera_id is None else c.camera_id)
        width = height = c.image_size
        if self.render_mode is not None:
            width, height = max(width, c.render_width), max(height, c.render_height)
        return PhysicsRenderer(self.physics, camera, c.render_quality, (width, height))

    def _make_observation_space(self) -> spaces.Space[Any]:
        size = self.config.image_size
        pixels = spaces.Box(0, 255, (size, size, 3), np.uint8)
        count = self._dm.observation_spec()["observations"].shape
        state = spaces.Box(-np.inf, np.inf, count, np.float32)
        if self._both:
            return spaces.Dict({"pixels": pixels, "state": state})
        return pixels if self.config.observation == "pixels" else state


def _load(
    domain: str, task: str, action_repeat: int, adjust: Callable[[Any], None] | None
) -> tuple[gymnasium.Env[Any, Any], Any]:
    """Returns the repeated Shimmy environment and the dm_control environment inside it.

    The random state given here draws only what belongs to the model itself (masses of lqr), so
    it is fixed: two instances are the same world. Episodes are seeded at reset.
    """
    suite = gl.import_after_choice("dm_control.suite")
    shimmy = gl.import_after_choice("shimmy.dm_control_compatibility")
    limit = {"time_limit": _TIME_LIMITS[domain]} if domain in _TIME_LIMITS else {}
    dm = suite.load(
        domain,
        task,
        task_kwargs={"random": 0, **limit},
        environment_kwargs={"flat_observation": True},
    )
    if adjust is not None:
        adjust(dm)
    return RepeatAction(shimmy.DmControlCompatibilityV0(dm), action_repeat), dm


def _action_range(spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns centre and half range; an unbounded actuator (lqr) takes [-1, 1] as it is."""
    bounded = (spec.minimum > -1e9) & (spec.maximum < 1e9)
    low, high = np.where(bounded, spec.minimum, -1.0), np.where(bounded, spec.maximum, 1.0)
    return (low + high) / 2, (high - low) / 2


def _flat(observation: dict[str, np.ndarray]) -> np.ndarray:
    return observation["observations"].astype(np.float32)


def _checked_mode(render_mode: str | None) -> str | None:
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(f"render_mode must be None or 'rgb_array', found {render_mode!r}")
    return render_mode
