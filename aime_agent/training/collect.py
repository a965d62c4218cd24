"""`collect`: whole episodes of a policy in a task, as a dataset on disk.

Each environment is a lane with a stream of its own. Lane i plays its episodes 0, 1, …, each from a
seed that depends on (seed, i, number) alone, and stores them as training does. The manifest names
complete episodes only: what an interruption cut off is played again from its first frame, so an
interrupted and resumed collection equals one that never stopped, bit for bit.
"""

import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from aime_agent.configs import override
from aime_agent.data.dataset import EpisodeRecord, episode_records, write_info
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import DataError
from aime_agent.training.checkpoint import explained_full_disk
from aime_agent.training.collect_config import CollectConfig, describe, kept_settings
from aime_agent.training.collector import Collector, Finished, VectorLane
from aime_agent.training.interrupts import Wish, deaf_children, listening
from aime_agent.training.parts import start_lane
from aime_agent.training.players import (
    Player,
    Seen,
    Turn,
    checked,
    load_policy,
    noisy,
    predict_player,
    random_player,
    zero_player,
)
from aime_agent.training.progress import Meter

_SAVE_SECONDS = 10.0
_WORLD = ("image_size", "action_repeat", "camera_id", "render_quality")


def collect(
    task: str,
    *,
    policy: Any = None,
    episodes: int = 0,
    frames: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Path:
    """Collects whole episodes and returns the folder of the dataset.

    Ctrl-C and SIGTERM leave a valid dataset of the complete episodes and raise `KeyboardInterrupt`.

    Args:
        task: Such as ``walker-walk``, or any Gymnasium id with pixels.
        policy: ``random``, ``zero``, a run folder or a checkpoint, a Stable-Baselines3 ``.zip`` (with
            ``trust_pickle=True``), an object with SB3's ``predict``, or such a function. If None,
            ``random``, or whoever played the dataset to go on with.
        episodes: How many episodes in all; either this or ``frames``.
        frames: How many frames in all, rounded up to whole episodes.
        out: Folder; ``data/<task>-<policy>-s<seed>`` if None.
        resume: Go on with a dataset, perhaps to more episodes; it keeps its settings.
        settings: Further fields of `CollectConfig`. With a run as policy, the environment's are the
            run's if not given.

    Raises:
        ConfigError: a setting cannot work, the policy is unknown, or ``out`` holds a dataset already.
        DataError: the policy's actions do not fit the task, or a dataset to go on with is damaged.
    """
    given = {"task": task, "episodes": episodes, "frames": frames, **settings}
    given |= {} if policy is None else {"policy": _label(policy)}
    config = override(CollectConfig(task=task, episodes=1), **given)
    folder = Path(out or Path("data") / f"{_name(task)}-{_name(config.policy)}-s{config.seed}")
    kept = kept_settings(folder, given, resume=resume)
    config = override(config, **kept)
    loaded = load_policy(
        config.policy if policy is None else policy,
        trust_pickle=config.trust_pickle,
        device=config.device,
    )
    trained_in = getattr(loaded, "config", None)
    free = [name for name in _WORLD if name not in given and name not in kept]
    config = override(config, **{k: getattr(trained_in, k) for k in free if hasattr(trained_in, k)})
    with ExitStack() as stack:
        lanes = []
        needs_state = _make_player(loaded, config, 1).needs_state
        with deaf_children():
            for _ in range(config.num_envs):
                world = {name: getattr(config, name) for name in _WORLD}
                lanes.append(start_lane(task, state=needs_state, **world))
                stack.callback(lanes[-1].close)
        player = _make_player(loaded, config, lanes[0].action_dim)
        complete = _run(folder, config, lanes, player)
    if not complete:
        raise KeyboardInterrupt(f"saved; go on with --resume --out {folder}")
    return folder


def _run(folder: Path, config: CollectConfig, lanes: Sequence[VectorLane], player: Player) -> bool:
    """Collects; a folder in which an error left no episode is removed again."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    collection = Collection(folder, config, lanes)
    try:
        return collection.run(player)
    except Exception:
        if new and not collection.records:
            shutil.rmtree(folder)
            with suppress(OSError):  # another collection may have begun beside this one
                for parent in new[1:]:
                    parent.rmdir()
        raise


class Collection:
    """A dataset that grows.

    Args:
        folder: Where it lies; what is there already is gone on with.
        config: Settings.
        lanes: One environment per stream.
    """

    def __init__(self, folder: Path, config: CollectConfig, lanes: Sequence[VectorLane]) -> None:
        self.folder = folder
        self.config = config
        self.lanes = lanes
        if (folder / "manifest.json").exists():
            self.store = ShardStore.open(folder)
        else:
            layout = plan_layout(lanes[0].frame_shape, lanes[0].action_dim, len(lanes), None)
            self.store = ShardStore(folder, layout, len(lanes))
        found = self.store.layout.frame_shape, self.store.layout.action_dim
        wanted = lanes[0].frame_shape, lanes[0].action_dim
        if found != wanted:
            raise DataError(
                f"{folder}: frames {wanted[0]} and {wanted[1]} actions required, found {found[0]} "
                f"and {found[1]}"
            )
        self.records: list[EpisodeRecord] = []
        for i in range(len(lanes)):
            self.records += episode_records(self.store, i)
        self._complete = [self.store.stream_state(i) for i in range(len(lanes))]

    def run(self, player: Player) -> bool:
        """Plays until every lane has its share; returns False if a signal ended it earlier.

        Raises:
            DataError: the player's actions do not fit.
            CheckpointError: the disk is full.
        """
        c, wish = self.config, Wish()
        self.save()
        turns = [self._play(i, player) for i in range(len(self.lanes))]
        meter = Meter(c.episodes or c.frames, "episodes" if c.episodes else "frames")
        saved = begun = time.monotonic()
        start = self._frames()
        try:
            with listening(wish), explained_full_disk("collecting"):
                while turns and not wish:
                    known = len(self.records)
                    turns = [turn for turn in turns if next(turn, "over") is None]
                    if time.monotonic() - saved > _SAVE_SECONDS:
                        self.save()
                        saved = time.monotonic()
                    if len(self.records) > known:
                        pace = (self._frames() - start) / max(time.monotonic() - begun, 1e-9)
                        done = len(self.records) if c.episodes else self._frames()
                        meter.show(done, f"{pace:.0f} frames/s  {self._score()}")
        finally:
            for turn in turns:
                turn.close()
            meter.close()
            self.save()
            self.store.close()
        return not turns

    def save(self) -> None:
        """Waits for the disk and names the complete episodes."""
        self.store.sync(self._complete)
        write_info(self.folder, describe(self.config), sorted(self.records))

    def _play(self, env: int, player: Player) -> Generator[None]:
        """Plays a lane; pauses while its environment steps."""
        lane, replay = self.lanes[env], ReplayBuffer(self.store)
        collector = Collector([lane], replay, self.config.seed, first=env)
        number, frames = sum(r.env == env for r in self.records), self._frames(env)
        if self.config.has_enough(env, number, frames):
            return
        collector.reset(number)
        memory, step = None, 0
        while not self.config.has_enough(env, number, frames):
            seen = Seen(collector.frames[0], lane.state)
            action, memory = player.act(seen, memory, Turn(env, number, step))
            collector.send(checked(action, lane.action_dim, player.label)[None])
            try:
                yield
            except GeneratorExit:
                lane.receive()  # an environment cannot be closed in the middle of a step
                raise
            step += 1
            for finished in collector.receive():
                self._note(finished)
                number, frames = number + 1, self._frames(env)
                memory, step = None, 0

    def _note(self, finished: Finished) -> None:
        """Counts a complete episode."""
        env = finished.env
        start = self.store.bounds(env)[1] - finished.length - 1
        (record,) = episode_records(self.store, env, start)
        self.records.append(record._replace(number=finished.episode))
        self._complete[env] = self.store.stream_state(env)

    def _frames(self, env: int | None = None) -> int:
        """Physics frames of the complete episodes, of one environment or of all."""
        some = [r for r in self.records if env in (None, r.env)]
        return sum(r.length - 1 for r in some) * self.config.action_repeat

    def _score(self) -> str:
        if not self.records:
            return ""
        return f"mean return {np.mean([r.total_reward for r in self.records]):.1f}"


def _make_player(policy: Any, config: CollectConfig, action_dim: int) -> Player:
    if policy == "random":
        player = random_player(action_dim, config.seed, config.hold)
    elif policy == "zero":
        player = zero_player(action_dim)
    else:
        player = predict_player(policy, config.policy, config.seed, config.sample, config.device)
    return noisy(player, config.noise, config.seed)


def _label(policy: Any) -> str:
    if isinstance(policy, str | Path):
        return str(policy)
    return getattr(policy, "__name__", type(policy).__name__)


def _name(text: str) -> str:
    return Path(text).stem.replace("/", "-") if text.endswith(".zip") else text.replace("/", "-")
