"""True segmentations of DeepMind Control tasks: which body every pixel shows.

`Segmented` puts a label image into ``info["segmentation"]`` beside every observation. It never
enters the observation: it is ground truth for evaluation, which no agent may see. Labels are body
ids of the MuJoCo model; 0 is the background (sky, floor, rails: all that belongs to the world
body). `Parts` turns them into coarser levels by the kinematic tree:

    agent    1 for any body
    limbs    bodies grouped by their ancestor at depth 2 (walker: torso, right leg, left leg)
    bodies   every body

Labels of limbs and bodies are body ids, so they name themselves (`Parts.names`).
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import Int, Int32, Integer

from aime_agent.envs import gl
from aime_agent.errors import ConfigError

Level = Literal["agent", "limbs", "bodies"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From coarse to fine."""

_GEOM = 5  # mjtObj.mjOBJ_GEOM
_LIMB_DEPTH = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The bodies of a model and how they hang together."""

    names: tuple[str, ...]
    """Of the bodies, by id; body 0 is the world."""
    parents: Int32[np.ndarray, " bodies"]
    """Id of the body that each one hangs on."""

    @classmethod
    def of(cls, model: Any) -> "Parts":
        """Reads them from a dm_control model."""
        names = tuple(model.id2name(i, "body") for i in range(model.nbody))
        return cls(names=names, parents=np.array(model.body_parentid, np.int32))

    def table(self, level: str) -> Int32[np.ndarray, " bodies"]:
        """Returns the label of every body at a level.

        Raises:
            ConfigError: there is no such level.
        """
        bodies = np.arange(len(self.parents), dtype=np.int32)
        match level:
            case "agent":
                return np.minimum(bodies, 1)
            case "limbs":
                return np.array([self._limb(int(i)) for i in bodies], np.int32)
            case "bodies":
                return bodies
            case _:
                raise ConfigError(f"level must be one of {LEVELS}, found {level!r}")

    def labels(
        self, bodies: Integer[np.ndarray, "*shape"], level: str
    ) -> Int32[np.ndarray, "*shape"]:
        """Returns a picture of body ids at another level."""
        return self.table(level)[bodies]

    def _limb(self, body: int) -> int:
        path = [body]
        while path[-1] != 0:
            path.append(int(self.parents[path[-1]]))
        from_root = path[::-1]
        return from_root[min(_LIMB_DEPTH, len(from_root) - 1)]


class Segmented(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds ``info["segmentation"]``, int32 [H, W], to `reset` and `step`.

    The label image has the size and the camera of the observation's frame, one sample per pixel.

    Args:
        env: An environment made from an ``AIME/`` id, wrapped or not.
        level: What the labels tell apart.

    Raises:
        ConfigError: the environment is not one of the control suite, or the level is unknown.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], level: str = "bodies") -> None:
        RecordConstructorArgs.__init__(self, level=level)
        super().__init__(env)
        if level not in LEVELS:
            raise ConfigError(f"Segmented.level must be one of {LEVELS}, found {level!r}")
        if not hasattr(env.unwrapped, "segmentation"):
            raise ConfigError(
                f"Segmented needs an environment of the control suite (AIME/...), found {env}"
            )
        gl.require_pixels("segmentation")
        self.level = level

    @property
    def parts(self) -> Parts:
        """Bodies of the present model."""
        base: Any = self.env.unwrapped
        return Parts.of(base.physics.model)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; the label image shows its first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "segmentation": self.current_segmentation()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps; the label image shows the frame that is returned."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "segmentation": self.current_segmentation()}
        return observation, reward, terminated, truncated, info

    def current_segmentation(self) -> Int32[np.ndarray, "H W"]:
        """Returns the label image of the present moment, also after a fast-forward."""
        base: Any = self.env.unwrapped
        return self.parts.labels(base.segmentation(), self.level)


def body_labels(segments: Int[np.ndarray, "H W 2"], model: Any) -> Int32[np.ndarray, "H W"]:
    """Returns the body shown by each pixel of dm_control's (object id, object type) picture."""
    ids, kinds = segments[..., 0], segments[..., 1]
    bodies = np.asarray(model.geom_bodyid, np.int32)[np.where(kinds == _GEOM, ids, 0)]
    return np.where(kinds == _GEOM, bodies, 0).astype(np.int32)
