"""The same three workloads on a checkout of dreamerv3-torch, driven from outside.

Nothing of it is part of this repository: give its folder with ``--peer-dir``. Only ``models.py``,
``networks.py``, ``tools.py`` and ``configs.yaml`` are used; its own loop needs packages of 2022.
"""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

NEEDED = ("models.py", "networks.py", "tools.py", "configs.yaml")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)e[-+]?\d+", re.IGNORECASE)
SIZES = {
    "default": {},
    "small": {
        "dyn_deter": 256,
        "dyn_hidden": 256,
        "dyn_stoch": 16,
        "dyn_discrete": 16,
        "units": 256,
        "encoder": {"cnn_depth": 16},
        "decoder": {"cnn_depth": 16},
    },
    "tiny": {
        "dyn_deter": 128,
        "dyn_hidden": 128,
        "dyn_stoch": 8,
        "dyn_discrete": 8,
        "units": 128,
        "encoder": {"cnn_depth": 8},
        "decoder": {"cnn_depth": 8},
    },
}


class PeerError(ValueError):
    """The folder is no usable checkout; the message says what is missing."""


class Peer:
    """World model and behaviour of dreamerv3-torch at one of `SIZES`."""

    def __init__(self, folder, size, batch, length, action_dim):
        check(folder)
        sys.path.insert(0, str(folder))
        import models
        from gymnasium import spaces

        self.config = config(folder, size, action_dim)
        image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        action = spaces.Box(-1, 1, (action_dim,), np.float32)
        self.world = models.WorldModel(spaces.Dict({"image": image}), action, 0, self.config)
        self.behaviour = models.ImagBehavior(self.config, self.world)
        rng = np.random.default_rng(0)
        first = np.zeros((batch, length), np.float32)
        self.data = {
            "image": rng.integers(0, 256, (batch, length, 64, 64, 3), dtype=np.uint8),
            "action": rng.uniform(-1, 1, (batch, length, action_dim)).astype(np.float32),
            "reward": rng.random((batch, length)).astype(np.float32),
            "is_first": first,
            "is_terminal": first,
        }
        self.posterior, _, _ = self.world._train(self.data)

    def train_step(self):
        """One step of the world model."""
        self.world._train(self.data)

    def dream(self):
        """Imagined steps from all states of the batch."""
        import torch

        with torch.no_grad():
            self.behaviour._imagine(self.posterior, self.behaviour.actor, self.config.imag_horizon)

    def act(self):
        """One action for one environment."""
        import torch

        with torch.no_grad():
            one = {k: v[:1, 0] for k, v in self.data.items() if k != "action"}
            seen = self.world.preprocess(one)
            latent, _ = self.world.dynamics.obs_step(
                None, None, self.world.encoder(seen), seen["is_first"]
            )
            self.behaviour.actor(self.world.dynamics.get_feat(latent)).mode()

    def timed(self):
        """Workloads by name."""
        return {"peer_train_step": self.train_step, "peer_dream": self.dream, "peer_act": self.act}

    def parameters(self):
        """Parameters by network."""
        parts = {"world model": self.world, "actor": self.behaviour.actor}
        parts["critic"] = self.behaviour.value
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def check(folder):
    """Raises `PeerError` unless the folder holds what is needed."""
    missing = [name for name in NEEDED if not (Path(folder) / name).is_file()]
    if missing:
        raise PeerError(
            f"--peer-dir {folder}: a checkout of dreamerv3-torch required, "
            f"{', '.join(missing)} not found"
        )


def config(folder, size, action_dim):
    """Reads its settings for control from pixels, at a size, on the CPU."""
    import yaml

    if size not in SIZES:
        raise PeerError(f"--peer-size must be one of {', '.join(SIZES)}, found {size!r}")
    known = yaml.safe_load((Path(folder) / "configs.yaml").read_text())
    merged = {}
    for change in (known["defaults"], known.get("dmc_vision", {}), SIZES[size]):
        merge(merged, change)
    merge(merged, {"device": "cpu", "compile": False, "num_actions": action_dim, "precision": 32})
    return SimpleNamespace(**numbers(merged))


def merge(base, change):
    """Merges nested settings in place."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, dict) else value


def numbers(value):
    """Turns words like ``1e-4``, which YAML 1.1 takes for text, into numbers."""
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items()}
    is_number = isinstance(value, str) and NUMBER.fullmatch(value)
    return float(value) if is_number else value
