"""Frozen world models, one per process and device, found by their hash.

Whoever needs a model that does not learn (wrappers, extractors, loaded policies) keeps a `WorldRef`:
two strings that can be pickled and written as JSON. The weights stay in the process' cache, outside
every module tree, so saving a policy does not save its world again.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from aime_agent.errors import CheckpointError
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.pretrained import model_hash

_MODELS: dict[tuple[str, str], AimeWorldModel] = {}


@dataclass(frozen=True)
class WorldRef:
    """Names a frozen world model.

    Args:
        digest: Its `model_hash`.
        path: Folder, run or hub id to load it from where it is not in the cache; empty for none.
    """

    digest: str
    path: str = ""

    def model(self, device: str | torch.device = "cpu") -> AimeWorldModel:
        """Returns the model: the same object on every call for a device.

        Raises:
            CheckpointError: it can be found nowhere, or what lies at the path is another.
        """
        key = (self.digest, str(torch.device(device)))
        if key not in _MODELS:
            _MODELS[key] = self._elsewhere().to(torch.device(device))
        return _MODELS[key]

    def require(self, digest: str, whose: str) -> None:
        """Refuses another world than this one.

        Raises:
            CheckpointError: the message names both hashes.
        """
        if digest != self.digest:
            raise CheckpointError(
                f"{whose} belongs to world model {digest}, found {self.digest}"
                f"{f' ({self.path})' if self.path else ''}; beliefs of another model mean something "
                "else, even of the same sizes"
            )

    def _elsewhere(self) -> AimeWorldModel:
        """A new object of the model: from another device, or from the path."""
        for (digest, _), model in _MODELS.items():
            if digest == self.digest:
                return copy.deepcopy(model)
        if not self.path:
            raise CheckpointError(
                f"world model {self.digest} is not loaded in this process and has no path; call "
                "freeze(model) first, or freeze('runs/...') to remember where it lies"
            )
        found = freeze(self.path)
        found.require(self.digest, "what was saved")
        return copy.deepcopy(_MODELS[found.digest, "cpu"])


def freeze(world: "AimeWorldModel | str | Path | WorldRef") -> WorldRef:
    """Puts a world model into the cache, in eval mode and without gradients, and names it.

    Args:
        world: A model (a copy is kept, on the CPU, so it may learn on), a path or hub id that
            `AimeWorldModel.from_pretrained` takes, or a reference (returned as it is).

    Raises:
        CheckpointError: nothing readable lies there.
    """
    if isinstance(world, WorldRef):
        return world
    if isinstance(world, AimeWorldModel):
        path, model = "", copy.deepcopy(world).to("cpu")
    else:
        path, model = str(world), AimeWorldModel.from_pretrained(world)
    digest = model_hash(model)
    _MODELS.setdefault((digest, "cpu"), model.eval().requires_grad_(False))
    return WorldRef(digest, path)
