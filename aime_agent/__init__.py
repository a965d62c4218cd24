"""AIME Agent: a world model you can look into.

Reading order: `aime_agent.world_model.model` (the five pillars in order), then one pillar
(`perception`, `representation`, `dynamics`, `attention`, `optimization`), then its equation in
`functional`. Importing this module registers the environments' ids and imports nothing heavy:
everything public is loaded when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aime_agent.envs.registration import register_all

if TYPE_CHECKING:
    from aime_agent.agents.aime import AimeAgent as AimeAgent
    from aime_agent.shapes import validate_shape as validate_shape
    from aime_agent.training.collect import collect as collect
    from aime_agent.training.train import train as train
    from aime_agent.training.train_offline import train_world_model as train_world_model
    from aime_agent.world_model.model import AimeWorldModel as AimeWorldModel
    from aime_agent.world_model.model import (
        DPGMMVariationalRecurrentAutoencoder as DPGMMVariationalRecurrentAutoencoder,
    )

__version__ = "0.1.0"

_PUBLIC = {
    "AimeAgent": "aime_agent.agents.aime",
    "AimeWorldModel": "aime_agent.world_model.model",
    "DPGMMVariationalRecurrentAutoencoder": "aime_agent.world_model.model",
    "collect": "aime_agent.training.collect",
    "train": "aime_agent.training.train",
    "train_world_model": "aime_agent.training.train_offline",
    "validate_shape": "aime_agent.shapes",
}

__all__ = [*_PUBLIC, "__version__"]

register_all()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'aime_agent' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
