"""Stable-Baselines3 in a learned world, and how far what it learned carries over to the real one.

    train_sb3("walker-stand", algo="sb3-ppo", inside_dream=True, world="runs/quickstart", frames=…)

The run folder keeps ``config.json`` (settings, world, versions), ``metrics.jsonl`` and TensorBoard
events, ``policy/`` (safetensors and JSON, what `eval` and `collect` load), ``sb3.zip`` (SB3's own, for
going on), and ``transfer.json`` with the measurement. Returns are stated per 1,000 frames:

    R · 1000 / (actions · action repeat),   gap = dream − reality

Dreams begin with beliefs of the run's replay, episodes at their beginning: part of a gap is that.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecMonitor

from aime_agent.data.files import write_json
from aime_agent.data.saved import read_agent
from aime_agent.envs.beliefs import BeliefVecEnv
from aime_agent.envs.latent_vector import LatentVectorEnv
from aime_agent.envs.make import make_vector
from aime_agent.envs.sb3_vec import VectorToSB3
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.policies.extractors import BeliefExtractor, SlotExtractor
from aime_agent.policies.saving import load_policy, save_policy
from aime_agent.training.evaluate import versions
from aime_agent.training.progress import Meter
from aime_agent.training.runfolder import machine
from aime_agent.training.sb3_config import Sb3Config
from aime_agent.training.sb3_player import POLICY_FOLDER, Sb3Agent, environment_settings
from aime_agent.training.sb3_transfer import Transfer, measure, plot, save
from aime_agent.world_model.frozen import WorldRef, freeze

_log = logging.getLogger(__name__)
_INHERITED = ("image_size", "action_repeat", "camera_id", "render_quality")


def train_sb3(task: str, **settings: Any) -> Transfer:
    """Trains with Stable-Baselines3 and measures the policy in dreams and in reality.

    Args:
        task: Such as ``walker-stand``.
        **settings: Of `Sb3Config`. What is not given of the environment's settings is the world's.

    Raises:
        ConfigError: a setting is unknown or cannot work, or ``out`` holds a run already.
        CheckpointError: there is no world model at ``world``.
    """
    config = settle(task, **settings)
    folder = Path(config.out or Path("runs") / config.run_name)
    if (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds a run already: give another --out")
    if config.threads:
        torch.set_num_threads(config.threads)
    world = freeze(config.world) if config.world else None
    env = VecMonitor(training_env(config, world))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _describe(folder, config, world)
        model = make_model(config, env)
        _learn(model, config, folder)
    finally:
        env.close()
    model.save(folder / "sb3.zip")
    save_policy(model, folder / POLICY_FOLDER, world)
    agent = Sb3Agent(load_policy(folder / POLICY_FOLDER, config.device), config, config.device)
    result = measure(agent, config, dreams(config, config.eval_dreams, config.seed + 1))
    save(result, folder)
    plot(folder)
    return result


def settle(task: str, **settings: Any) -> Sb3Config:
    """Returns the configuration, with the environment's settings as the world has them.

    Raises:
        ConfigError: a setting is unknown or cannot work, or the world dreams of another task.
    """
    known = {f.name for f in dataclasses.fields(Sb3Config)}
    if unknown := sorted(set(settings) - known):
        raise ConfigError(
            f"Sb3Config has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    spec = _spec(str(settings.get("world") or ""))
    inherited = {k: spec[k] for k in _INHERITED if k in spec and k not in settings}
    config = Sb3Config(task=task, **{**inherited, **settings})
    if config.inside_dream and spec.get("task", task) != task:
        raise ConfigError(
            f"--inside-dream: the world {config.world} dreams of {spec['task']} and its rewards, found "
            f"task {task!r}"
        )
    return config


def training_env(config: Sb3Config, world: WorldRef | None) -> VecEnv:
    """Makes what is trained in: dreams, beliefs of the real task, or its stacked frames."""
    if config.inside_dream:
        found = dreams(config, config.lanes, config.seed)
        if found is None:
            raise ConfigError("inside_dream: a world required")
        return found
    vector = make_vector(
        config.task,
        config.lanes,
        autoreset_mode=AutoresetMode.SAME_STEP,
        in_process=config.lanes == 1,
        **environment_settings(config),
    )
    real = VectorToSB3(vector)
    if world is None:
        return VecFrameStack(real, config.frame_stack)
    return BeliefVecEnv(real, world, config.features, device=config.device)


def dreams(config: Sb3Config, count: int, seed: int) -> VecEnv | None:
    """Makes dreams side by side; None without a world, or where none are asked for."""
    if not (config.world and count):
        return None
    try:
        return VectorToSB3(
            LatentVectorEnv(
                count,
                config.world,
                AutoresetMode.SAME_STEP,
                horizon=config.horizon,
                temperature=config.temperature,
                observation=config.features,
                start=config.start or None,
                num_starts=config.num_starts,
                context=config.context,
                start_seed=seed,
                device=config.device,
            )
        )
    except ConfigError:
        if config.inside_dream:
            raise
        return None  # a model without a run has no frames to dream from


def make_model(config: Sb3Config, env: VecEnv) -> Any:
    """Builds SB3's algorithm for an environment."""
    policy, kwargs = _policy(config)
    common = {"seed": config.seed, "device": config.device, "policy_kwargs": kwargs}
    if config.algo == "sb3-ppo":
        rows = max(8, 2048 // env.num_envs)
        defaults: dict[str, Any] = {
            "n_steps": rows,
            "batch_size": 256,
            "n_epochs": 5,
            "gamma": 0.97,
        }
        algorithm: Any = PPO
    else:
        defaults = {"gamma": 0.97, "buffer_size": min(200_000, config.steps + 1), "train_freq": 1}
        defaults |= {"gradient_steps": max(1, env.num_envs // 8)}
        defaults |= {"learning_starts": min(1000, config.steps // 4)}
        algorithm = SAC
    if config.features == "pixels" and config.algo == "sb3-sac":
        defaults |= {"buffer_size": min(50_000, config.steps + 1)}
    try:
        return algorithm(policy, env, **{**defaults, **common, **config.sb3})
    except TypeError as error:
        raise ConfigError(f"sb3: {error}") from error


def _policy(config: Sb3Config) -> tuple[str, dict[str, Any]]:
    """SB3's policy class by name, and its settings."""
    if config.features == "pixels":
        return "CnnPolicy", {}
    if config.features == "belief":
        kwargs: dict[str, Any] = {"features_dim": 128}
        return "MlpPolicy", {
            "features_extractor_class": BeliefExtractor,
            "features_extractor_kwargs": kwargs,
            "net_arch": [128, 128],
        }
    slots = freeze(config.world).model().config.num_slots
    return "MultiInputPolicy", {
        "features_extractor_class": SlotExtractor,
        "features_extractor_kwargs": {"features_dim": 128, "slot_units": 32, "num_slots": slots},
        "net_arch": [128, 128],
    }


def _learn(model: Any, config: Sb3Config, folder: Path) -> None:
    """Trains, with metrics in the folder; TensorBoard events too where it is installed."""
    formats = ["csv"]
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        _log.info("no TensorBoard events: pip install 'aime-agent[tensorboard]'")
    else:
        formats.append("tensorboard")
    logger = configure(str(folder / "sb3"), formats)
    model.set_logger(logger)
    curve = Curve(folder / "metrics.jsonl", config)
    try:
        model.learn(config.steps, callback=curve)
    finally:
        curve.meter.close()
        logger.close()


class Curve(BaseCallback):  # type: ignore[misc]
    """Writes how training goes, and shows it.

    Args:
        path: The JSON lines.
        config: Says how many frames an action takes, and how many there are.
        points: How many lines.
    """

    def __init__(self, path: Path, config: Sb3Config, points: int = 50) -> None:
        super().__init__()
        self.path, self.repeat = path, config.action_repeat
        self.total = config.steps * config.action_repeat
        self.every = max(1, self.total // points)
        self.meter = Meter(self.total, "frames")

    def _on_step(self) -> bool:
        done = self.num_timesteps * self.repeat
        stride = self.training_env.num_envs * self.repeat
        before = done - stride
        if done // self.every == before // self.every or before >= self.total:
            return True
        recent = [e["r"] * 1000 / (e["l"] * self.repeat) for e in self.model.ep_info_buffer]
        mean = float(np.mean(recent)) if recent else None
        with self.path.open("a") as file:
            file.write(json.dumps({"frames": done, "return_per_1000_frames": mean}) + "\n")
        note = "" if mean is None else f"return {mean:.1f} per 1,000 frames"
        self.meter.show(min(done, self.total), note)
        return True


def _describe(folder: Path, config: Sb3Config, world: WorldRef | None) -> None:
    """Writes what the run is and what it ran with."""
    hashed = None if world is None else world.digest
    text = {"sb3": dataclasses.asdict(config), "world_hash": hashed, "task": config.task}
    write_json(folder / "config.json", {**text, "versions": sb3_versions(), "machine": machine()})


def sb3_versions() -> dict[str, str]:
    """Returns the versions that decide a score, Stable-Baselines3's too."""
    import stable_baselines3

    return {**versions(), "stable-baselines3": stable_baselines3.__version__}


def _spec(world: str) -> dict[str, Any]:
    """Settings of the agent inside a run; empty for a model alone."""
    if not world:
        return {}
    try:
        spec = read_agent(world)[0].get("spec", {})
    except CheckpointError:
        return {}
    return spec if isinstance(spec, dict) else {}
