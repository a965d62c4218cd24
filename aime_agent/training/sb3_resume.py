"""Going on with Stable-Baselines3 after an interruption, without pickle.

    RUN/resume/state.json                what counts: steps, updates, and the files below
    RUN/resume/weights-000012000.safetensors   policy, optimisers, entropy coefficient
    RUN/resume/rows-000010000.safetensors      transitions of SAC since the file before

A state is taken where a rollout begins: weights do not change within one. Replay rows are written
once; files whose rows were all overwritten in the buffer are deleted. A resumed run has the same
weights, optimisers, replay and counters. It has not: the open episode (a new one begins), a half
collected rollout, and the state of random generators (they are seeded by seed and step).
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from aime_agent.configs import from_dict
from aime_agent.data.files import write_bytes, write_json
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.training.interrupts import Wish
from aime_agent.training.sb3_config import Sb3Config
from aime_agent.training.seeding import numpy_rng

STATE, FORMAT = "state.json", 1
FOLDER = "resume"
_CHANGEABLE = {"out", "device", "threads", "checkpoint_every", "eval_episodes", "eval_dreams"}
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Keeper(BaseCallback):  # type: ignore[misc]
    """Keeps states while a model learns, and one where a signal asks for the end.

    Args:
        folder: Where they lie.
        every: Actions between two.
        wish: Set by the signal.
    """

    def __init__(self, folder: Path, every: int, wish: Wish) -> None:
        super().__init__()
        self.folder, self.every, self.wish = folder, every, wish
        self.steps = self.kept = 0

    def _on_training_start(self) -> None:
        if getattr(getattr(self.model, "replay_buffer", None), "optimize_memory_usage", False):
            raise ConfigError(
                "sb3.optimize_memory_usage: a run that can be resumed keeps whole transitions; leave it out"
            )
        self.kept = self.num_timesteps

    def _on_rollout_start(self) -> None:
        self.steps = self.num_timesteps
        if self.steps - self.kept >= self.every:
            self._keep()

    def _on_step(self) -> bool:
        if not self.wish:
            return True
        self._keep()
        return False

    def _on_training_end(self) -> None:
        if not self.wish:
            self.steps = self.num_timesteps
            self._keep()

    def _keep(self) -> None:
        save_state(self.model, self.folder, self.steps)
        self.kept = self.steps


def settle_resumed(task: str, folder: Path, settings: Mapping[str, Any]) -> Sb3Config:
    """Returns the settings of the run in a folder, with the allowed changes.

    Raises:
        CheckpointError: there is no such run.
        ConfigError: it has ended, or a change would make it another run.
    """
    file = folder / "config.json"
    try:
        stored = from_dict(Sb3Config, json.loads(file.read_text())["sb3"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: a run of --algo sb3-* to go on with required ({error})"
        ) from error
    for name, value in {"task": task, **settings}.items():
        if name not in _CHANGEABLE and (old := getattr(stored, name, None)) != value:
            raise ConfigError(f"--resume: {name} must stay {old!r} as in {file}, found {value!r}")
    return dataclasses.replace(stored, **{**settings, "out": str(folder)})


def save_state(model: Any, folder: Path, steps: int) -> None:
    """Writes what the model needs to learn on from a step.

    Args:
        model: PPO or SAC of Stable-Baselines3, at the beginning of a rollout or within it.
        folder: Where to; what is there already is kept or replaced.
        steps: Where the rollout began.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors, groups = _flat(model)
    weights = f"weights-{steps:09d}.safetensors"
    write_bytes(folder / weights, safetensors.torch.save(tensors))
    rows = _add_rows(model, folder, steps // model.n_envs)
    state = {"format": FORMAT, "algorithm": type(model).__name__, "steps": steps}
    state |= {"updates": model._n_updates, "weights": weights, "groups": groups, "rows": rows}
    write_json(folder / STATE, state)
    named = {STATE, weights, *(name for _, _, name in rows)}
    for file in folder.iterdir():
        if file.name not in named:
            file.unlink()


def load_state(model: Any, folder: Path, seed: int) -> int:
    """Takes back what `save_state` wrote; returns the step, 0 if there is nothing.

    Raises:
        CheckpointError: it is damaged, or of another model.
    """
    if not (folder / STATE).exists():
        return 0
    try:
        state = json.loads((folder / STATE).read_text())
        if (state["format"], state["algorithm"]) != (FORMAT, type(model).__name__):
            raise CheckpointError(
                f"{folder}: format {FORMAT} of {type(model).__name__} required, found "
                f"{state['format']} of {state['algorithm']}"
            )
        _put(model, safetensors.torch.load((folder / state["weights"]).read_bytes()), state)
        _read_rows(model, folder, state["rows"])
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: cannot be resumed ({error})") from error
    model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
    model.set_random_seed(int(numpy_rng(seed, "sb3", state["steps"]).integers(2**31)))
    return int(state["steps"])


# ------------------------------------------------------------------- weights


def _flat(model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and moments as tensors by name; the optimisers' settings as JSON values."""
    tensors: dict[str, Tensor] = {}
    groups = {}
    for part, state in model.get_parameters().items():
        if "param_groups" in state:
            groups[part] = state["param_groups"]
            state = {f"{i}/{k}": v for i, d in state["state"].items() for k, v in d.items()}
        tensors |= {f"{part}/{k}": torch.as_tensor(v) for k, v in state.items()}
    if getattr(model, "ent_coef_optimizer", None) is not None:
        tensors["log_ent_coef"] = model.log_ent_coef
    return {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, groups


def _put(model: Any, tensors: dict[str, Tensor], state: Mapping[str, Any]) -> None:
    """The other way round."""
    found: dict[str, Any] = {}
    for part, groups in state["groups"].items():
        found[part] = {"state": {}, "param_groups": groups}
    for name, value in tensors.items():
        part, _, key = name.partition("/")
        if part in state["groups"]:
            number, _, key = key.partition("/")
            found[part]["state"].setdefault(int(number), {})[key] = value
        elif key:
            found.setdefault(part, {})[key] = value
    if "log_ent_coef" in tensors:
        model.log_ent_coef.data.copy_(tensors["log_ent_coef"])
    model.set_parameters(found, exact_match=True, device=model.device)


# ------------------------------------------------------------------- replay


def _arrays(model: Any) -> dict[str, np.ndarray]:
    """The replay buffer's arrays by name; none if the algorithm has no replay."""
    buffer = getattr(model, "replay_buffer", None)
    found: dict[str, np.ndarray] = {}
    for name in _ARRAYS:
        value = getattr(buffer, name, {})
        parts = value if isinstance(value, dict) else {"": value}
        found |= {f"{name}/{key}": array for key, array in parts.items()}
    return found


def _add_rows(model: Any, folder: Path, total: int) -> list[list[Any]]:
    """Writes the rows since the last state; returns ``[first, end, file]`` of all that count."""
    arrays = _arrays(model)
    if not arrays:
        return []
    size = model.replay_buffer.buffer_size
    file = folder / STATE
    known = json.loads(file.read_text())["rows"] if file.exists() else []
    first = max(known[-1][1] if known else 0, total - size)
    rows = [row for row in known if row[1] > total - size]
    if total > first:
        at, name = np.arange(first, total) % size, f"rows-{first:09d}.safetensors"
        data = {key: np.ascontiguousarray(array[at]) for key, array in arrays.items()}
        write_bytes(folder / name, safetensors.numpy.save(data))
        rows.append([first, total, name])
    return rows


def _read_rows(model: Any, folder: Path, rows: list[list[Any]]) -> None:
    arrays = _arrays(model)
    for first, end, name in rows:
        found = safetensors.numpy.load((folder / name).read_bytes())
        at = np.arange(first, end) % model.replay_buffer.buffer_size
        for key, array in arrays.items():
            array[at] = found[key]
    if rows:
        total, size = rows[-1][1], model.replay_buffer.buffer_size
        model.replay_buffer.pos, model.replay_buffer.full = total % size, total >= size
