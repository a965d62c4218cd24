"""Stable-Baselines3 policies on disk without pickle: ``policy.json`` beside ``policy.safetensors``.

SB3's own zip holds cloudpickle, and opening a crafted one runs any code. Here classes are names of a
list, spaces are numbers, weights are safetensors; a world model is named by its hash and path,
never stored. What learns on (optimisers, replay) is not kept: SB3's ``save`` does that.
"""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from gymnasium import spaces
from safetensors import SafetensorError

from aime_agent.data.files import write_bytes, write_json
from aime_agent.errors import CheckpointError, ConfigError, MissingDependencyError
from aime_agent.world_model.frozen import WorldRef

POLICY, WEIGHTS = "policy.json", "policy.safetensors"
KIND, FORMAT = "stable-baselines3 policy", 1

_MODULES = {
    "aime_agent.policies.extractors": ("BeliefExtractor", "SlotExtractor"),
    "aime_agent.policies.perception": ("PerceptionExtractor",),
    "aime_agent.policies.slots": ("SlotActorCriticPolicy", "SlotSACPolicy", "SlotTD3Policy"),
    "sb3_contrib.common.recurrent.policies": (
        "RecurrentActorCriticPolicy",
        "RecurrentActorCriticCnnPolicy",
        "RecurrentMultiInputActorCriticPolicy",
    ),
    "stable_baselines3.common.policies": (
        "ActorCriticPolicy",
        "ActorCriticCnnPolicy",
        "MultiInputActorCriticPolicy",
    ),
    "stable_baselines3.common.torch_layers": ("CombinedExtractor", "FlattenExtractor", "NatureCNN"),
    "stable_baselines3.dqn.policies": ("DQNPolicy",),
    "stable_baselines3.sac.policies": ("SACPolicy", "CnnPolicy", "MultiInputPolicy"),
    "stable_baselines3.td3.policies": ("TD3Policy", "CnnPolicy", "MultiInputPolicy"),
    "torch.nn.modules.activation": ("ELU", "GELU", "LeakyReLU", "ReLU", "SiLU", "Tanh"),
    "torch.optim.adam": ("Adam",),
    "torch.optim.adamw": ("AdamW",),
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like": ("RMSpropTFLike",),
}
CLASSES = {f"{module}:{name}" for module, names in _MODULES.items() for name in names}
"""Everything that a policy file may name."""


def save_policy(model: Any, folder: str | Path, world: WorldRef | None = None) -> Path:
    """Writes the policy of an SB3 model (or a policy made by `load_policy`); returns the folder.

    Args:
        model: PPO, SAC, TD3, RecurrentPPO, ... with classes that are on the list (`CLASSES`).
        folder: Where to; files there are replaced.
        world: The world model whose beliefs the policy sees; the one of the model's environment if
            None.

    Raises:
        ConfigError: a class is not on the list, or a setting is no JSON value.
    """
    policy = getattr(model, "policy", model)
    settings = getattr(model, "policy_kwargs", None) or getattr(policy, "saved_settings", {})
    world = world or _world(model)
    text = {
        "kind": KIND,
        "format": FORMAT,
        "algorithm": getattr(model, "algorithm_name", type(model).__name__),
        "policy": _encode(type(policy)),
        "observation_space": _encode_space(policy.observation_space),
        "action_space": _encode_space(policy.action_space),
        "settings": _encode(_with_sde(settings, model)),
        "world": None if world is None else [world.digest, world.path],
    }
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().clone().contiguous() for k, v in policy.state_dict().items()}
    write_bytes(path / WEIGHTS, safetensors.torch.save(state))
    write_json(path / POLICY, text)
    return path


def load_policy(folder: str | Path, device: str = "cpu", world: WorldRef | None = None) -> Any:
    """Rebuilds a policy; its ``predict`` is SB3's.

    Args:
        folder: What `save_policy` wrote.
        device: Where it computes.
        world: The world model whose beliefs it will be shown; another one is refused.

    Raises:
        CheckpointError: files are missing, damaged, of something else, or name a class that is not
            on the list; or the policy belongs to another world model.
        MissingDependencyError: its class needs sb3-contrib.
    """
    path = Path(folder)
    text = _read(path)
    try:
        own = WorldRef(*text["world"]) if text["world"] else None
        if own is not None and world is not None:
            world.require(own.digest, f"{path}")
        cls, settings = _decode(text["policy"]), _decode(text["settings"])
        spaces_of = [_decode_space(text[f"{part}_space"]) for part in ("observation", "action")]
        policy = cls(*spaces_of, _no_schedule, **settings)
        policy.load_state_dict(safetensors.torch.load((path / WEIGHTS).read_bytes()))
    except CheckpointError:
        raise
    except (OSError, SafetensorError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: no usable policy ({error})") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights do not fit their policy ({error})") from error
    policy.saved_settings, policy.algorithm_name = settings, text.get("algorithm", "")
    policy.world = world or own
    policy.set_training_mode(False)
    return policy.to(device)


def is_policy(folder: str | Path) -> bool:
    """Whether `save_policy` wrote into a folder."""
    return (Path(folder) / POLICY).is_file()


def _no_schedule(progress: float) -> float:
    """A learning rate for who does not learn."""
    return 0.0 * progress


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".zip":
        raise CheckpointError(
            f"{path}: a Stable-Baselines3 zip holds cloudpickle, which can run any code, and is not "
            "opened here; use SB3's own load if you trust its source, then save_policy"
        )
    try:
        text = json.loads((path / POLICY).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no readable policy ({error})") from error
    found = text if isinstance(text, dict) else {}
    if (found.get("kind"), found.get("format")) != (KIND, FORMAT):
        raise CheckpointError(
            f"{path}: a {KIND} of format {FORMAT} required, found {found.get('kind')!r} of format "
            f"{found.get('format')!r}"
        )
    return found


def _world(model: Any) -> WorldRef | None:
    """The world whose beliefs the model's environment shows."""
    env = getattr(model, "env", None)
    while env is not None:
        if "tracker" in vars(env):
            return env.tracker.world
        if not hasattr(env, "venv"):
            found = env.get_attr("world")[0] if env.has_attr("world") else None
            return found if isinstance(found, WorldRef) else None
        env = env.venv
    return getattr(model, "world", None)


def _with_sde(settings: Mapping[str, Any], model: Any) -> dict[str, Any]:
    return {**settings, **({"use_sde": True} if getattr(model, "use_sde", False) else {})}


# ---------------------------------------------------------------------- values


def _encode(value: Any) -> Any:
    """Turns a setting into JSON: classes and worlds by name."""
    if isinstance(value, type):
        name = f"{value.__module__}:{value.__name__}"
        if name not in CLASSES:
            raise ConfigError(
                f"save_policy: class {name} is not on the list of what may be loaded without pickle; "
                "use SB3's own save"
            )
        return {"class": name}
    if isinstance(value, WorldRef):
        return {"world": [value.digest, value.path]}
    if isinstance(value, Mapping):
        return {"items": {str(k): _encode(v) for k, v in value.items()}}
    if isinstance(value, list | tuple):
        return [_encode(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"save_policy: JSON values and classes required, found {value!r}")


def _decode(value: Any) -> Any:
    """Turns it back; a class that is not on the list is an error, and nothing of it is imported."""
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        return _class(value["class"])
    if "world" in value:
        return WorldRef(*map(str, value["world"]))
    return {k: _decode(v) for k, v in value["items"].items()}


def _class(name: str) -> Any:
    if name not in CLASSES:
        raise CheckpointError(
            f"policy file: class {name!r} is not on the list of what may be loaded"
        )
    module, _, cls = name.partition(":")
    try:
        return getattr(import_module(module), cls)
    except ImportError as error:
        raise MissingDependencyError(
            f"policy of class {cls}: needs sb3-contrib: pip install 'aime-agent[contrib]'"
        ) from error


# ---------------------------------------------------------------------- spaces


def _encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    match space:
        case spaces.Box():
            bounds = {"low": _bound(space.low), "high": _bound(space.high)}
            return {"box": list(space.shape), "dtype": str(space.dtype), **bounds}
        case spaces.Discrete():
            return {"discrete": int(space.n), "start": int(space.start)}
        case spaces.Dict():
            return {"dict": {key: _encode_space(part) for key, part in space.spaces.items()}}
    raise ConfigError(f"save_policy: spaces Box, Discrete and Dict required, found {space}")


def _decode_space(text: Mapping[str, Any]) -> spaces.Space[Any]:
    if "dict" in text:
        return spaces.Dict({key: _decode_space(part) for key, part in text["dict"].items()})
    if "discrete" in text:
        return spaces.Discrete(int(text["discrete"]), start=int(text["start"]))
    shape, dtype = tuple(text["box"]), np.dtype(text["dtype"])
    make: Callable[[Any], np.ndarray] = lambda v: np.broadcast_to(np.asarray(v, dtype), shape)  # noqa: E731
    return spaces.Box(make(text["low"]).copy(), make(text["high"]).copy(), shape, dtype.type)


def _bound(values: np.ndarray) -> Any:
    """One number where all are equal."""
    return values.flat[0].item() if (values == values.flat[0]).all() else values.tolist()
