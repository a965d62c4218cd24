"""What a dream's ``start`` may name, and the bank that is made from it."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from aime_agent.envs.latent_config import LatentConfig
from aime_agent.envs.latent_starts import (
    Bank,
    Clips,
    array_clips,
    filter_clips,
    live_clips,
    stored_clips,
)
from aime_agent.errors import ConfigError
from aime_agent.world_model.model import AimeWorldModel

LIVE = "live"


def make_bank(model: AimeWorldModel, checkpoint: Any, config: LatentConfig, attend: bool) -> Bank:
    """Filters the beliefs that dreams begin with.

    Args:
        model: The world model.
        checkpoint: Where it comes from: its run says where frames are by default.
        config: Names the start.
        attend: Keep attention and slots.

    Raises:
        ConfigError: nothing is there to start from.
        DataError: frames do not fit.
    """
    return filter_clips(model, _clips(model, checkpoint, config), attend)


def run_of(checkpoint: Any) -> Path | None:
    """Returns the run folder that a checkpoint belongs to, if it does."""
    if not isinstance(checkpoint, str | Path):
        return None
    path = Path(checkpoint)
    for folder in (path, *path.parents[:2]):
        if (folder / "checkpoints").is_dir() and (folder / "config.json").exists():
            return folder
    return None


def _clips(model: AimeWorldModel, checkpoint: Any, config: LatentConfig) -> Clips:
    start, c, run = config.start, config, run_of(checkpoint)
    if isinstance(start, np.ndarray | list | tuple):
        return array_clips(start, None, model.config.action_dim)
    if isinstance(start, gym.Env):
        return live_clips(start, c.num_starts, c.context, c.start_seed)
    if start == LIVE:
        env = _environment(run, checkpoint)
        try:
            return live_clips(env, c.num_starts, c.context, c.start_seed)
        finally:
            env.close()
    folder = run if start is None else start
    if folder is None:
        raise ConfigError(
            "start: a dataset's folder, frames, an environment or 'live' required, found None, and "
            "the checkpoint belongs to no run whose replay could serve"
        )
    return stored_clips(folder, c.num_starts, c.context, c.start_seed)


def _environment(run: Path | None, checkpoint: Any) -> gym.Env[Any, Any]:
    """Makes the environment that a run was trained in."""
    if run is None:
        raise ConfigError(
            f"start 'live' needs a run folder or its checkpoint, which names the task, found "
            f"{checkpoint if isinstance(checkpoint, str | Path) else type(checkpoint).__name__}; "
            "give an environment instead"
        )
    from aime_agent.envs.make import environment_id, make_env

    c = json.loads((run / "config.json").read_text())
    settings = {k: c[k] for k in ("image_size", "action_repeat")}
    if "AIME/" in environment_id(c["task"]):
        settings |= {k: c[k] for k in ("camera_id", "render_quality")}
    return make_env(c["task"], **settings)
