"""Trees of frozen dataclasses: build from dictionaries, override, save, load, hash.

Knows no AIME field. Unknown keys raise with the nearest valid name.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from aime_agent.errors import ConfigError, nearest

C = TypeVar("C")


def override(config: C, **changes: Any) -> C:
    """Returns a copy of ``config`` with some fields replaced.

    A dictionary given for a field that is itself a dataclass changes only the keys it names.

    Raises:
        ConfigError: a key is no field; the message names the nearest one.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config must be a dataclass instance, found {type(config).__name__}")
    known = {f.name for f in dataclasses.fields(config) if f.init}
    new = {}
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(
                f"{type(config).__name__} has no setting {key!r}. {nearest(key, known)}"
            )
        old = getattr(config, key)
        nested = dataclasses.is_dataclass(old) and isinstance(value, Mapping)
        new[key] = override(old, **value) if nested else value
    return dataclasses.replace(config, **new)


def from_dict(cls: type[C], data: Mapping[str, Any]) -> C:
    """Builds a dataclass tree from nested dictionaries, as `to_dict` made them."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"cls must be a dataclass, found {cls!r}")
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            raise ConfigError(f"{cls.__name__} has no setting {key!r}. {nearest(key, known)}")
        values[key] = _revive(hints[key], value)
    return cls(**values)


def to_dict(config: Any) -> dict[str, Any]:
    """Returns the tree as dictionaries of JSON values."""
    return dataclasses.asdict(config)


def config_hash(config: Any) -> str:
    """Returns 12 hexadecimal digits that change whenever a setting does."""
    text = json.dumps(to_dict(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _revive(hint: Any, value: Any) -> Any:
    """Turns a JSON value back into what the annotation says: dataclass, tuple, or itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [h for h in typing.get_args(hint) if h is not type(None)]
        return value if value is None or len(options) != 1 else _revive(options[0], value)
    if isinstance(value, Mapping) and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        return tuple(value)
    return value
