"""Who plays when a dataset is collected: random, zero, a trained run, or somebody's policy.

A player sees one environment at a time and is told where in the dataset it stands (`Turn`). What
is random depends on that place alone, so an episode is the same however many are collected side by
side, and however often the collection was interrupted.
"""

import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float32, UInt8

from aime_agent.agents.randomness import seeded
from aime_agent.errors import ConfigError, DataError, nearest
from aime_agent.training.seeding import numpy_rng

Action = Float32[np.ndarray, " A"]


class Seen(NamedTuple):
    """What one environment shows."""

    pixels: UInt8[np.ndarray, "H W C"]
    state: np.ndarray | None
    """Its state vector, for players that need it."""


class Turn(NamedTuple):
    """Place in the dataset."""

    env: int
    episode: int
    step: int


class Player(NamedTuple):
    """Chooses actions; ``act`` gets and returns what it remembers within an episode."""

    label: str
    act: Callable[[Seen, Any, Turn], tuple[Action, Any]]
    needs_state: bool = False


def random_player(action_dim: int, seed: int, hold: int = 1) -> Player:
    """Uniform actions in [-1, 1], each held for ``hold`` steps."""

    def act(seen: Seen, memory: Any, turn: Turn) -> tuple[Action, Any]:
        del seen
        rng = numpy_rng(seed, "collect", turn.env, turn.episode, turn.step // hold)
        return rng.uniform(-1.0, 1.0, action_dim).astype(np.float32), memory

    return Player("random", act)


def zero_player(action_dim: int) -> Player:
    """Zeros."""

    def act(seen: Seen, memory: Any, turn: Turn) -> tuple[Action, Any]:
        del seen, turn
        return np.zeros(action_dim, np.float32), memory

    return Player("zero", act)


def predict_player(
    policy: Any, label: str, seed: int, sample: bool = False, device: str = "cpu"
) -> Player:
    """Plays with Stable-Baselines3's ``predict``, of an agent, an SB3 model or a function.

    Args:
        policy: Has ``predict``, or is such a function. Its ``observation_space``, if it has one,
            says what it is shown: frames, the state vector, or a dictionary of ``pixels`` and
            ``state``. A function is shown frames. All have a leading dimension of 1.
        label: Name in the dataset.
        seed: Of sampled actions.
        sample: Draw actions instead of taking the likeliest.
        device: Where they are drawn.

    Raises:
        ConfigError: it has no ``predict``, or wants to see something else.
    """
    predict = getattr(policy, "predict", policy)
    if not callable(predict):
        raise ConfigError(
            f"policy: 'random', 'zero', a path, a function or an object with predict required, "
            f"found {type(policy).__name__}"
        )
    show, needs_state = _wishes(getattr(policy, "observation_space", None), label)

    def act(seen: Seen, memory: Any, turn: Turn) -> tuple[Action, Any]:
        start = np.array([turn.step == 0])
        noise = (
            seeded(seed, f"collect/{turn.env}/{turn.episode}", turn.step, torch.device(device))
            if sample
            else nullcontext()
        )
        with noise:
            action, memory = predict(
                show(seen), state=memory, episode_start=start, deterministic=not sample
            )
        return np.asarray(action, dtype=np.float32)[0], memory

    return Player(label, act, needs_state)


def noisy(player: Player, noise: float, seed: int) -> Player:
    """Adds Gaussian noise of this standard deviation to a player's actions, and clips them."""
    if noise == 0:
        return player

    def act(seen: Seen, memory: Any, turn: Turn) -> tuple[Action, Any]:
        action, memory = player.act(seen, memory, turn)
        normal = numpy_rng(seed, "collect noise", *turn).standard_normal(len(action))
        return np.clip(action + noise * normal, -1.0, 1.0).astype(np.float32), memory

    return player._replace(act=act)


def checked(action: np.ndarray, action_dim: int, label: str) -> np.ndarray:
    """Returns an action that fits the environment.

    Raises:
        DataError: it has another shape, or is not within [-1, 1].
    """
    if action.shape != (action_dim,) or not np.abs(action).max() <= 1.0:
        raise DataError(
            f"policy {label}: {action_dim} actions in [-1, 1] required, found {action.tolist()}"
        )
    return action


def load_policy(policy: Any, *, trust_pickle: bool = False, device: str = "cpu") -> Any:
    """Returns what a path names: an `AimeAgent`, or a policy of SB3; others unchanged.

    A folder of `save_policy`, or a run of `train_sb3`, needs no trust; an SB3 zip does.

    Raises:
        ConfigError: it is no known policy, or an SB3 file and not trusted.
        CheckpointError: the run has no valid checkpoint.
    """
    if not isinstance(policy, str | Path) or policy in ("random", "zero"):
        return policy
    path = Path(policy)
    if path.suffix == ".zip":
        return _load_sb3(path, trust_pickle, device)
    if path.is_dir():
        from aime_agent.agents.aime import AimeAgent
        from aime_agent.training.sb3_player import Sb3Agent, is_sb3_run

        if is_sb3_run(path):
            return Sb3Agent.load(path, device)

        return AimeAgent.from_pretrained(path, device=device)
    hint = nearest(str(policy), ("random", "zero"))
    raise ConfigError(
        f"policy {str(policy)!r} is neither 'random', 'zero', a run folder, a checkpoint, a "
        f"folder of save_policy nor a Stable-Baselines3 .zip. {hint}"
    )


def _load_sb3(path: Path, trusted: bool, device: str) -> Any:
    """Rebuilds the policy network of an SB3 file, whatever algorithm trained it."""
    if not path.exists():
        raise ConfigError(f"policy {str(path)!r}: no such file")
    if not trusted:
        raise ConfigError(
            f"policy {str(path)!r}: a Stable-Baselines3 file holds cloudpickle, which can run any "
            "code when it is opened; give --trust-pickle (trust_pickle=True) if you trust its source"
        )
    from stable_baselines3.common.save_util import load_from_zip_file

    try:
        data, parameters, _ = load_from_zip_file(path, device=device)
        data = data or {}
        settings = dict(data.get("policy_kwargs") or {})
        if data.get("use_sde"):
            settings["use_sde"] = True
        policy = data["policy_class"](
            data["observation_space"], data["action_space"], lambda _: 0.0, **settings
        )
        policy.load_state_dict(parameters["policy"])
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ImportError,
        RuntimeError,
        zipfile.BadZipFile,
        json.JSONDecodeError,
    ) as error:
        raise ConfigError(
            f"policy {str(path)!r}: no readable Stable-Baselines3 model ({error})"
        ) from error
    return policy.to(device)


def _wishes(space: Any, label: str) -> tuple[Callable[[Seen], Any], bool]:
    """Returns what shows a player its observation, and whether that has the state vector."""
    if space is None:
        return (lambda seen: seen.pixels[None]), False
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    kinds = {name: _kind(name, part) for name, part in parts.items()}
    if not set(kinds.values()) <= {"pixels", "state"}:
        raise ConfigError(
            f"policy {label}: an observation space of pixels [H, W, 3], a state vector, or a "
            f"dictionary of 'pixels' and 'state' required, found {space}"
        )

    def show(seen: Seen) -> Any:
        shown = {
            name: _shown(seen, kind, _shape(parts[name]), label)[None]
            for name, kind in kinds.items()
        }
        return shown if isinstance(space, spaces.Dict) else shown[""]

    return show, "state" in kinds.values()


def _shown(seen: Seen, kind: str, shape: tuple[int, ...], label: str) -> np.ndarray:
    """Returns the pixels or the state, if they have the policy's shape."""
    if kind == "pixels":
        found, remedy = seen.pixels, "collect frames of its size"
        shapes = [shape, (*shape[1:], shape[0])]  # SB3 brings channels first itself
    elif seen.state is not None:
        found, remedy, shapes = seen.state, "it was trained on another task", [shape]
    else:
        raise DataError(
            f"policy {label}: a state vector of {shape[0]} numbers required, but the task shows "
            "pixels only; tasks of the control suite have one"
        )
    if found.shape not in shapes:
        raise DataError(
            f"policy {label}: {kind} of shape {shape} required, found {found.shape}: {remedy}"
        )
    return found


def _kind(name: str, space: Any) -> str:
    shape = _shape(space)
    if len(shape) == 3 and 3 in (shape[0], shape[2]) and name in ("", "pixels"):
        return "pixels"
    return "state" if len(shape) == 1 and name in ("", "state") else "other"


def _shape(space: Any) -> tuple[int, ...]:
    return getattr(space, "shape", None) or ()
