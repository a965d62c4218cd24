"""A world model on disk: ``config.json`` beside ``model.safetensors``; nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from aime_agent.configs import from_dict, to_dict
from aime_agent.data.saved import INDEX, read_agent
from aime_agent.errors import CheckpointError, ConfigError, MissingDependencyError
from aime_agent.world_model.config import WorldModelConfig

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def save_pretrained(model: "AimeWorldModel", folder: Path) -> None:
    """Writes configuration and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(state))
    text = {"format": FORMAT, "kind": "AimeWorldModel", "config": to_dict(model.config)}
    (folder / CONFIG).write_text(json.dumps(text, indent=2))


def model_hash(model: "AimeWorldModel") -> str:
    """Returns twelve hex digits that tell this model, settings and weights, from any other.

    Settings at their default are left out, so that a setting which is added later, and off, leaves the
    hashes of older models as they are.
    """
    usual = to_dict(WorldModelConfig())
    settings = {k: v for k, v in to_dict(model.config).items() if v != usual.get(k)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + flat.numpy().tobytes())
    return digest.hexdigest()[:12]


def load_pretrained(
    cls: "type[AimeWorldModel]",
    path: str | Path,
    revision: str | None,
    device: str,
    local_files_only: bool,
) -> "AimeWorldModel":
    """Reads what `save_pretrained` wrote, or the world model of a run or a checkpoint.

    A name that is no folder is looked up on the hub. The model has the floating type in which it
    was saved.

    Raises:
        CheckpointError: files are missing, damaged, or of something else.
        MissingDependencyError: a hub id is given and huggingface-hub is not installed.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder = _from_hub(str(path), revision, local_files_only)
    config, weights = _from_run(folder) if _is_run(folder) else _from_folder(folder)
    try:
        model = cls(from_dict(WorldModelConfig, config)).to(_floating_type(weights))
        model.load_state_dict(weights)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{folder}: the configuration cannot be used ({error})") from error
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: weights do not fit their configuration ({error})"
        ) from error
    return model.to(torch.device(device)).eval()


def _is_run(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir() or (folder / INDEX).exists()


def _from_run(folder: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Returns configuration and weights of the world model inside an agent."""
    settings, tensors = read_agent(folder)
    config = settings.get("spec", {}).get("world_model")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder}: an agent with a world model required, found none")
    prefix = "world_model."
    return config, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _from_folder(folder: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Returns what `save_pretrained` wrote."""
    try:
        text = json.loads((folder / CONFIG).read_text())
        weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no readable world model ({error})") from error
    found = text if isinstance(text, dict) else {}
    if found.get("kind") != "AimeWorldModel" or found.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder}: an AimeWorldModel of format {FORMAT} required, found "
            f"{found.get('kind')!r} of format {found.get('format')!r}"
        )
    if not isinstance(found.get("config"), dict):
        raise CheckpointError(f"{folder}: the configuration cannot be used (none was found)")
    return found["config"], weights


def _floating_type(weights: Mapping[str, Tensor]) -> torch.dtype:
    """The type of the saved weights (`Module.to` turns all of them together)."""
    found = (w.dtype for w in weights.values() if w.is_floating_point())
    return next(found, torch.get_default_dtype())


def _from_hub(name: str, revision: str | None, local_files_only: bool) -> Path:
    """Downloads (or finds in the cache) a model from the Hugging Face hub."""
    if "/" not in name or name.startswith((".", "/")):
        raise CheckpointError(f"{name}: no such folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            f"{name}: no such folder, and loading from the hub needs "
            "huggingface-hub: pip install 'aime-agent[hub]'"
        ) from error
    patterns = [CONFIG, WEIGHTS]
    try:
        folder = snapshot_download(
            name, revision=revision, local_files_only=local_files_only, allow_patterns=patterns
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: the hub does not give it ({error})") from error
    return Path(folder)
