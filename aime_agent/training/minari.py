"""Datasets to and from Minari (https://minari.farama.org), frames without loss.

    ours     rows t = 0 … T: o_t, r_t and end that arrived with o_t, a_t (zeros at T)
    Minari   observations 0 … T; actions, rewards, terminations, truncations of steps 0 … T − 1

Frames are stored as they are (Minari's default would turn them into JPEG), in its Arrow format.
"""

import io
import json
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image

from aime_agent.configs import from_dict, to_dict
from aime_agent.data.dataset import DatasetInfo, episode_records, open_described, write_info
from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.shard import Layout
from aime_agent.data.splits import open_split
from aime_agent.data.storage import ShardStore
from aime_agent.envs.make import make_env
from aime_agent.errors import AimeError, ConfigError, DataError, MissingDependencyError
from aime_agent.training.evaluate import versions

_OURS = "aime_agent"


def export_minari(folder: str | Path, dataset_id: str) -> str:
    """Writes all complete episodes of a dataset as a Minari dataset, bit for bit.

    It lands where Minari keeps its datasets (``MINARI_DATASETS_PATH``). If the task can be made
    here, ``recover_environment`` gives it with the settings of the frames.

    Args:
        folder: Of a dataset or a run.
        dataset_id: Minari's name, such as ``walker/random-v0``.

    Returns:
        The id.

    Raises:
        MissingDependencyError: Minari or pyarrow is not installed.
        ConfigError: the id is no Minari id, or is taken.
        DataError: there is no dataset, or it has no complete episode.
    """
    check_id(dataset_id)
    minari = _minari()
    episodes, info = open_split(folder, held_out=0.0).train, open_described(folder).info
    layout = episodes.store.layout
    env = _environment(info)
    made: Any = None
    try:
        with _all_or_nothing(minari, dataset_id):
            for episode in episodes:
                buffer = [_buffer(minari, episode)]
                if made is None:
                    made = _create(minari, dataset_id, buffer, env, layout, info)
                else:
                    made.update_dataset_from_buffer(buffer)
            if info is not None:
                made.storage.update_metadata({_OURS: json.dumps(to_dict(info))})
    finally:
        if env is not None:
            env.close()
    return dataset_id


def check_id(dataset_id: str) -> None:
    """Refuses an id under which nothing could be exported.

    Raises:
        MissingDependencyError: Minari or pyarrow is not installed.
        ConfigError: the id is no Minari id, or is taken.
    """
    _minari()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:  # TypeError if the version is missing
        raise ConfigError(
            "Minari takes ids such as walker/random-v0 (a namespace of two letters or more, a name, "
            f"a version), found {dataset_id!r}"
        ) from error
    if get_dataset_path(dataset_id).exists():
        raise ConfigError(
            f"Minari has a dataset {dataset_id!r} already: give another name or version, or remove "
            f"it with: minari delete {dataset_id}"
        )


def import_minari(
    dataset_id: str, out: str | Path, *, image_size: int | None = None, download: bool = False
) -> Path:
    """Copies a Minari dataset of pixels into a dataset of ours and returns its folder.

    Bounded Box actions are scaled to [-1, 1]; of n discrete actions the chosen one becomes a one in
    n numbers.

    Args:
        dataset_id: Minari's name.
        out: Folder of the new dataset.
        image_size: Side of the square that frames are scaled to; None leaves them as they are.
        download: Whether to fetch it from Minari's server if it is not here.

    Raises:
        MissingDependencyError: Minari or pyarrow is not installed.
        ConfigError: ``out`` exists already, or an action space cannot be brought to [-1, 1].
        DataError: there is no such dataset, or it has no RGB frames.
    """
    minari, folder = _minari(), Path(out)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds something already: give another --out")
    try:
        found = minari.load_dataset(dataset_id, download=download)
    except (OSError, ValueError, LookupError) as error:
        hint = "" if download else " (--download fetches it from Minari's server)"
        raise DataError(f"Minari dataset {dataset_id!r} cannot be read{hint}: {error}") from error
    key = _pixel_key(found.observation_space, dataset_id)
    episodes = (_episode(x, key, found.action_space, image_size) for x in found.iterate_episodes())
    first = next(episodes, None)
    if first is None:
        raise DataError(f"Minari dataset {dataset_id!r}: at least one episode required, found none")
    layout = plan_layout((*first.frames.shape[1:3], 3), first.actions.shape[1], 1, None)
    try:
        store = ShardStore(folder, layout)
        replay = ReplayBuffer(store)
        for episode in chain([first], episodes):
            replay.add_episode(0, episode)
        store.sync()
        info = _info(found, dataset_id, layout.frame_shape[0])
        write_info(folder, info, episode_records(store, 0))
        store.close()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _minari() -> Any:
    try:
        import minari
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "Minari is not installed: pip install 'aime-agent[minari]'"
        ) from None
    return minari


@contextmanager
def _all_or_nothing(minari: Any, dataset_id: str) -> Iterator[None]:
    """Removes what an interruption or an error leaves half written."""
    try:
        yield
    except BaseException:
        # Minari prints what it deletes; the error may have come before there was anything.
        with redirect_stdout(io.StringIO()), suppress(FileNotFoundError):
            minari.delete_dataset(dataset_id)
        raise


def _create(
    minari: Any,
    dataset_id: str,
    buffer: list[Any],
    env: Any,
    layout: Layout,
    info: DatasetInfo | None,
) -> Any:
    """Begins a Minari dataset with its first episode."""
    with warnings.catch_warnings():
        # Minari recommends an author, a link to the code and an environment; the first two are the
        # user's to give, and not every dataset has a task that can be made here.
        warnings.filterwarnings("ignore", message=".*is (set to )?None", category=UserWarning)
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffer,
            env=env,
            observation_space=spaces.Box(0, 255, layout.frame_shape, np.uint8),
            action_space=spaces.Box(-1.0, 1.0, (layout.action_dim,), np.float32),
            description="Pixels and actions of an AIME Agent dataset.",
            algorithm_name="unknown" if info is None else info.policy,
            data_format="arrow",
            jpeg_encoding=False,
        )


def _environment(info: DatasetInfo | None) -> Any:
    """Makes the task, so that Minari knows how to; None if it cannot be made here."""
    if info is None:
        return None
    settings: dict[str, Any] = {
        "image_size": info.image_size,
        "action_repeat": info.action_repeat,
        "camera_id": info.camera_id,
        "render_quality": info.render_quality,
    }
    try:
        return make_env(info.task, **settings)
    except (AimeError, TypeError):
        return None


def _buffer(minari: Any, episode: Episode) -> Any:
    """An episode as Minari takes it."""
    truncations = np.zeros(len(episode) - 1, dtype=bool)
    truncations[-1:] = not episode.terminated[-1]
    return minari.data_collector.EpisodeBuffer(
        observations=episode.frames,
        actions=episode.actions[:-1],
        rewards=episode.rewards[1:],
        terminations=episode.terminated[1:],
        truncations=truncations,
    )


def _episode(item: Any, key: str | None, space: Any, image_size: int | None) -> Episode:
    """An episode as we store it."""
    frames = np.asarray(item.observations if key is None else item.observations[key])
    actions, steps = _to_box(np.asarray(item.actions), space), len(item.rewards)
    if len(frames) != steps + 1:
        raise DataError(
            f"Minari episode {item.id}: {steps + 1} observations for {steps} steps required, "
            f"found {len(frames)}"
        )
    if image_size is not None and frames.shape[1:3] != (image_size, image_size):
        frames = np.stack(list(_resized(frames, image_size)))
    return Episode(
        frames=np.ascontiguousarray(frames),
        actions=np.concatenate([actions, np.zeros_like(actions[:1])]),
        rewards=np.concatenate([[0.0], item.rewards]).astype(np.float32),
        terminated=np.concatenate([[False], np.asarray(item.terminations, dtype=bool)]),
    )


def _resized(frames: np.ndarray, image_size: int) -> Iterator[np.ndarray]:
    size = (image_size, image_size)
    return (np.array(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames)


def _pixel_key(space: Any, dataset_id: str) -> str | None:
    """Returns under which key the frames are; None if they are the observation itself."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    images = [name for name, part in parts.items() if _is_rgb(part)]
    if len(images) == 1 or "pixels" in images:
        return "pixels" if "pixels" in images else images[0]
    raise DataError(
        f"Minari dataset {dataset_id!r}: uint8 frames [H, W, 3], alone or under the key 'pixels', "
        f"required, found {space}"
    )


def _is_rgb(space: Any) -> bool:
    box = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return box and len(space.shape) == 3 and space.shape[-1] == 3


def _to_box(actions: np.ndarray, space: Any) -> np.ndarray:
    """Brings actions of a space to flat numbers in [-1, 1]."""
    if isinstance(space, spaces.Discrete):
        chosen = (actions.reshape(-1) - space.start).astype(np.int64)
        return np.eye(int(space.n), dtype=np.float32)[chosen]
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        raise ConfigError(f"actions: a Discrete or a bounded Box space required, found {space}")
    flat = actions.reshape(len(actions), math.prod(space.shape))
    low, high = (x.reshape(-1).astype(np.float64) for x in (space.low, space.high))
    if (low == -1).all() and (high == 1).all():
        return flat.astype(np.float32)
    scaled = 2.0 * (flat - low) / np.where(high > low, high - low, 1.0) - 1.0
    return np.clip(scaled, -1.0, 1.0).astype(np.float32)


def _info(found: Any, dataset_id: str, image_size: int) -> DatasetInfo:
    """What is known about an imported dataset; all of it if it was ours."""
    known = found.storage.metadata.get(_OURS)
    if known is not None:
        info = from_dict(DatasetInfo, json.loads(known))
        more = {**info.settings, "minari": dataset_id}
        return DatasetInfo(**{**to_dict(info), "image_size": image_size, "settings": more})
    spec = found.env_spec
    return DatasetInfo(
        task="unknown" if spec is None else spec.id,
        policy=str(found.storage.metadata.get("algorithm_name", "unknown")),
        image_size=image_size,
        settings={"minari": dataset_id},
        versions=versions(),
    )
