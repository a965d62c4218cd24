"""Stored episodes of a task for the comparison: frames, actions, rewards, true foreground.

Random actions, each held for a few steps (white noise moves nothing), are played in the task's own
environment. One compressed file per task holds everything, frames as differences modulo 256 between
successive ones, which is lossless and a tenth of the size.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aime_agent.data.episode import Episode
from aime_agent.envs.make import make_env
from aime_agent.envs.segmentation import Segmented
from aime_agent.errors import ConfigError, DataError
from aime_agent.training.evaluate import versions
from aime_agent.training.seeding import episode_seed, numpy_rng
from aime_agent.training.windows import Foreground


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is played.

    Raises:
        ConfigError: a value is out of range.
    """

    task: str
    episodes: int = 50
    steps: int = 250
    """Actions per episode."""
    hold: int = 3
    """Actions in a row that are the same."""
    action_repeat: int = 2
    image_size: int = 64
    render_quality: str = "fast"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("episodes", "steps", "hold", "action_repeat"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"DataConfig.{name} must be at least 1, found {getattr(self, name)}"
                )


class Stored(NamedTuple):
    """Episodes of a task; element i of both lists belongs to episode i."""

    episodes: list[Episode]
    foregrounds: list[Foreground]
    facts: dict[str, Any]
    """Settings and versions they were made with."""

    def part(self, chosen: Sequence[int]) -> "Stored":
        """Some of the episodes."""
        return Stored(
            [self.episodes[i] for i in chosen], [self.foregrounds[i] for i in chosen], self.facts
        )


def ensure(folder: Path, config: DataConfig) -> Path:
    """Returns the file of a task, playing the episodes if it is not there.

    Raises:
        DataError: it is there, but was made with other settings.
    """
    path = folder / f"{config.task}.npz"
    if path.exists():
        found = load(path).facts["config"]
        if found != asdict(config):
            raise DataError(f"{path}: made with {asdict(config)} required, found {found}")
        return path
    save(path, play(config))
    return path


def play(config: DataConfig) -> Stored:
    """Plays the episodes."""
    env = Segmented(
        make_env(
            config.task,
            image_size=config.image_size,
            action_repeat=config.action_repeat,
            render_quality=config.render_quality,
        ),
        level="agent",
    )
    try:
        pairs = [_play(env, config, k) for k in range(config.episodes)]
    finally:
        env.close()
    episodes, masks = zip(*pairs, strict=True)
    return Stored(list(episodes), list(masks), {"config": asdict(config), "versions": versions()})


def _play(env: Any, config: DataConfig, k: int) -> tuple[Episode, Foreground]:
    """One episode of random held actions, cut after ``steps`` of them."""
    rng = numpy_rng(config.seed, "bench data", k)
    frame, info = env.reset(seed=episode_seed(config.seed, 0, k))
    width = env.action_space.shape[0]
    frames, masks, actions = [frame], [info["segmentation"] > 0], list[np.ndarray]()
    rewards, ends, action = [0.0], [False], np.zeros(width, np.float32)
    while len(actions) < config.steps and not ends[-1]:
        if len(actions) % config.hold == 0:
            action = rng.uniform(-1, 1, width).astype(np.float32)
        frame, reward, terminated, truncated, info = env.step(action)
        actions.append(action)
        frames.append(frame)
        masks.append(info["segmentation"] > 0)
        rewards.append(float(reward))
        ends.append(bool(terminated))
        if truncated:
            break
    actions.append(np.zeros(width, np.float32))
    episode = Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.asarray(rewards, np.float32),
        terminated=np.asarray(ends),
    )
    return episode, np.stack(masks)


def save(path: Path, stored: Stored) -> None:
    """Writes all episodes into one file, in one step."""
    lengths = np.array([len(e) for e in stored.episodes])
    frames = np.concatenate([e.frames for e in stored.episodes])
    masks = np.concatenate(stored.foregrounds)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part.npz")
    np.savez_compressed(
        part,
        lengths=lengths,
        first=frames[:1],
        change=frames[1:] - frames[:-1],
        masks=np.packbits(masks),
        mask_shape=np.array(masks.shape),
        actions=np.concatenate([e.actions for e in stored.episodes]),
        rewards=np.concatenate([e.rewards for e in stored.episodes]),
        terminated=np.concatenate([e.terminated for e in stored.episodes]),
        facts=np.frombuffer(json.dumps(stored.facts).encode(), np.uint8),
    )
    part.replace(path)


def load(path: Path) -> Stored:
    """Reads what `save` wrote.

    Raises:
        DataError: the file is missing or is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        frames = np.concatenate([found["first"], found["change"]])
        np.cumsum(frames, axis=0, dtype=np.uint8, out=frames)
        shape = found["mask_shape"]
        masks = np.unpackbits(found["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
        cuts = np.cumsum(found["lengths"])[:-1]
        facts = json.loads(found["facts"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: stored episodes required, found none ({error})") from error
    names = ("actions", "rewards", "terminated")
    columns = [np.split(frames, cuts), *(np.split(found[name], cuts) for name in names)]
    episodes = [
        Episode(frames=f, actions=a, rewards=r, terminated=t)
        for f, a, r, t in zip(*columns, strict=True)
    ]
    return Stored(episodes, np.split(masks, cuts), facts)
