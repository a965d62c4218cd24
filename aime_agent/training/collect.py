"""`collect`: whole episodes of a policy in a task, as a dataset on disk.

Each environment is a lane with a stream of its own. Lane i plays its episodes 0, 1, …, each from a
seed that depends on (seed, i, number) alone, and stores them as training does. The manifest names
complete episodes only: what an interruption cut off is played again from its first frame, so an
interrupted and resumed collection equals one that never stopped, bit for bit.
"""

import dataclasses
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aime_agent.configs import override, to_dict
from aime_agent.data.dataset import (
    FILE,
    DatasetInfo,
    EpisodeRecord,
    episode_records,
    read_info,
    write_info,
)
from aime_agent.data.replay import ReplayBuffer, plan_layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError, DataError
from aime_agent.training.checkpoint import explained_full_disk
from aime_agent.training.collector import Collector, Finished, VectorLane
from aime_agent.training.evaluate import versions
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
_FREE = ("episodes", "frames", "device", "trust_pickle")


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


def collect(
    task: str,
    *,
    policy: Any = "random",
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
            ``trust_pickle=True``), an object with SB3's ``predict``, or such a function.
        episodes: How many episodes in all; or give
        frames: How many frames in all, rounded up to whole episodes.
        out: Folder; ``data/<task>-<policy>-s<seed>`` if None.
        resume: Go on with a dataset, perhaps to more episodes.
        settings: Further fields of `CollectConfig`. With a run as policy, the environment's are the
            run's if not given.

    Raises:
        ConfigError: a setting cannot work, the policy is unknown, or ``out`` holds a dataset already.
        DataError: the policy's actions do not fit the task, or a dataset to go on with is damaged.
    """
    given = {"episodes": episodes, "frames": frames, **settings}
    config = override(CollectConfig(task=task, episodes=1), policy=_label(policy), **given)
    loaded = load_policy(policy, trust_pickle=config.trust_pickle, device=config.device)
    trained_in = getattr(loaded, "config", None)
    same = {k: getattr(trained_in, k) for k in _WORLD if k not in given and hasattr(trained_in, k)}
    config = override(config, **same)
    folder = Path(out or Path("data") / f"{_name(task)}-{_name(config.policy)}-s{config.seed}")
    _check_folder(folder, config, resume=resume)
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
            shutil.rmtree(new[-1])
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
                    turns = [turn for turn in turns if next(turn, "over") is None]
                    if time.monotonic() - saved > _SAVE_SECONDS:
                        self.save()
                        saved = time.monotonic()
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
        write_info(self.folder, _info(self.config), sorted(self.records))

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
        player = predict_player(policy, config.policy, config.seed, config.sample)
    return noisy(player, config.noise, config.seed)


def _check_folder(folder: Path, config: CollectConfig, *, resume: bool) -> None:
    """Refuses to mix datasets.

    Raises:
        ConfigError: there is one and ``resume`` is not given, or it has other settings.
    """
    if not (folder / FILE).exists():
        if resume:
            raise ConfigError(f"{folder}: nothing to resume, found no {FILE}")
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds something else already: give another --out")
        return
    if not resume:
        raise ConfigError(
            f"{folder} holds a dataset already: give another --out, or go on with --resume"
        )
    old, new = to_dict(read_info(folder)), to_dict(_info(config))
    for name in (*old, *old["settings"]):
        before, after = (d.get(name, d["settings"].get(name)) for d in (old, new))
        if name not in ("versions", "settings") and before != after:
            raise ConfigError(
                f"--resume: {name} must stay {before!r} as in {folder / FILE}, found {after!r}"
            )


def _info(config: CollectConfig) -> DatasetInfo:
    ours = {f.name for f in dataclasses.fields(DatasetInfo)}
    known = to_dict(config)
    more = {k: v for k, v in known.items() if k not in ours and k not in _FREE}
    return DatasetInfo(
        **{k: v for k, v in known.items() if k in ours}, settings=more, versions=versions()
    )


def _label(policy: Any) -> str:
    if isinstance(policy, str | Path):
        return str(policy)
    return getattr(policy, "__name__", type(policy).__name__)


def _name(text: str) -> str:
    return Path(text).stem.replace("/", "-") if text.endswith(".zip") else text.replace("/", "-")
