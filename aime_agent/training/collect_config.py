"""Settings of a collection, and those that a dataset keeps while it grows."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aime_agent.configs import to_dict
from aime_agent.data.dataset import FILE, DatasetInfo, read_info
from aime_agent.errors import ConfigError
from aime_agent.training.evaluate import versions

_FREE = ("episodes", "frames", "device", "trust_pickle")
"""Settings that may change from one sitting to the next."""


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Settings of a collection.

    Raises:
        ConfigError: a value cannot work; the message names the field.
    """

    task: str
    """Suite task or Gymnasium id."""
    policy: str = "random"
    """Who plays."""
    episodes: int = 0
    """Episodes to collect in all."""
    frames: int = 0
    """Or frames: whole episodes until each environment has its share."""
    seed: int = 0
    """Decides everything random."""
    image_size: int = 64
    """Side of the frames in pixels."""
    action_repeat: int = 2
    """Frames per action."""
    camera_id: int | str = 0
    """Camera of a suite task, by number or name."""
    render_quality: str = "standard"
    """Of a suite task: standard, fast or minimal."""
    num_envs: int = 1
    """Environments side by side, one process and one stream each."""
    hold: int = 1
    """Actions for which a random action is held."""
    noise: float = 0.0
    """Standard deviation of noise added to the policy's actions."""
    sample: bool = False
    """Draw the policy's actions instead of taking the likeliest."""
    device: str = "cpu"
    """Where the policy computes."""
    trust_pickle: bool = False
    """Open a Stable-Baselines3 file, which can run any code."""

    def __post_init__(self) -> None:
        for name in ("action_repeat", "num_envs", "hold"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("image_size", self.image_size >= 32, "at least 32")
        for name in ("episodes", "frames", "seed", "noise"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        if (self.episodes > 0) == (self.frames > 0):
            raise ConfigError(
                "collect: either episodes or frames must be given and positive, found "
                f"episodes={self.episodes}, frames={self.frames}"
            )
        self._require(
            "hold", self.hold == 1 or self.policy == "random", "1 unless policy is random"
        )

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"CollectConfig.{name} must be {what}, found {getattr(self, name)!r}")

    def has_enough(self, env: int, episodes: int, frames: int) -> bool:
        """Says whether an environment has collected its share."""
        if self.episodes:
            return episodes * self.num_envs + env >= self.episodes
        return frames * self.num_envs >= self.frames


def kept_settings(folder: Path, given: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """Returns the settings of the dataset to go on with, none for a new one.

    Args:
        folder: Of the dataset.
        given: Settings that were asked for.
        resume: Whether to go on.

    Raises:
        ConfigError: there is a dataset and ``resume`` is not given, or none and it is, or it has
            other settings.
        DataError: ``dataset.json`` is damaged.
    """
    if not (folder / FILE).exists():
        if resume:
            raise ConfigError(f"{folder}: nothing to resume, found no {FILE}")
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds something else already: give another --out")
        return {}
    if not resume:
        raise ConfigError(
            f"{folder} holds a dataset already: give another --out, or go on with --resume"
        )
    info = to_dict(read_info(folder))
    stored = {**info, **info["settings"]}
    names = [f.name for f in dataclasses.fields(CollectConfig) if f.name not in _FREE]
    if missing := [name for name in names if name not in stored]:
        raise ConfigError(
            f"--resume: {folder / FILE} does not say {missing[0]}: it was not collected here"
        )
    for name in names:
        if name in given and given[name] != stored[name]:
            raise ConfigError(
                f"--resume: {name} must stay {stored[name]!r} as in {folder / FILE}, found "
                f"{given[name]!r}"
            )
    return {name: stored[name] for name in names}


def describe(config: CollectConfig) -> DatasetInfo:
    """Returns what ``dataset.json`` says about a collection."""
    ours = {f.name for f in dataclasses.fields(DatasetInfo)}
    known = to_dict(config)
    more = {k: v for k, v in known.items() if k not in ours and k not in _FREE}
    return DatasetInfo(
        **{k: v for k, v in known.items() if k in ours}, settings=more, versions=versions()
    )
