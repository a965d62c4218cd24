"""Stable-Baselines3 in a learned world, and how far what it learned carries over to the real one.

    train_sb3("walker-stand", algo="sb3-ppo", inside_dream=True, world="runs/quickstart", frames=…)

The run folder keeps ``config.json`` (settings, world, versions), ``metrics.jsonl`` and TensorBoard
events, ``policy/`` (safetensors and JSON, what `eval` and `collect` load), ``sb3.zip`` (SB3's own),
``resume/`` until it has come to its end, and ``transfer.json`` with the measurement. Returns are stated per 1,000 frames:

    R · 1000 / (actions · action repeat),   gap = dream − reality

Dreams begin with beliefs of the run's replay, episodes at their beginning: part of a gap is that.
"""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO, SAC
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
from aime_agent.training import sb3_resume
from aime_agent.training.evaluate import versions
from aime_agent.training.interrupts import Wish, deaf_children, listening
from aime_agent.training.runfolder import machine
from aime_agent.training.sb3_config import Sb3Config
from aime_agent.training.sb3_curve import Curve
from aime_agent.training.sb3_player import POLICY_FOLDER, Sb3Agent, environment_settings
from aime_agent.training.sb3_transfer import FILE as TRANSFER
from aime_agent.training.sb3_transfer import Transfer, measure, plot, save
from aime_agent.world_model.frozen import WorldRef, freeze

_log = logging.getLogger(__name__)
_INHERITED = ("image_size", "action_repeat", "camera_id", "render_quality")


def train_sb3(task: str, *, resume: bool = False, **settings: Any) -> Transfer:
    """Trains with Stable-Baselines3 and measures the policy in dreams and in reality.

    Args:
        task: Such as ``walker-stand``.
        resume: Go on with the run in ``out`` (see `sb3_resume` for what is lost); what is not given
            is as the run has it.
        **settings: Of `Sb3Config`. What is not given of the environment's settings is the world's.

    Raises:
        ConfigError: a setting is unknown or cannot work, or ``out`` holds a run already.
        CheckpointError: there is no world model at ``world``, or nothing to go on with.
        KeyboardInterrupt: a signal asked for the end; the state is saved.
    """
    folder, config = _settle_folder(task, resume, settings)
    if config.threads:
        torch.set_num_threads(config.threads)
    world = freeze(config.world) if config.world else None
    if resume and world is not None:
        world.require(json.loads((folder / "config.json").read_text())["world_hash"], str(folder))
    with deaf_children():
        env = VecMonitor(training_env(config, world))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
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
    shutil.rmtree(folder / sb3_resume.FOLDER, ignore_errors=True)
    return result


def _settle_folder(task: str, resume: bool, settings: dict[str, Any]) -> tuple[Path, Sb3Config]:
    """Returns the run's folder and configuration; writes nothing."""
    if resume and settings.get("out"):
        folder = Path(settings["out"])
    else:
        config = settle(task, **settings)
        folder = Path(config.out or Path("runs") / config.run_name)
    if resume:
        if (folder / TRANSFER).exists():
            raise ConfigError(f"--resume: {folder} has come to its end; give another --out")
        return folder, sb3_resume.settle_resumed(task, folder, settings)
    if (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds a run already: give another --out, or --resume")
    return folder, config


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
    """Trains to the end, from where a run was stopped, and keeps states to go on from."""
    begun = sb3_resume.load_state(model, folder / sb3_resume.FOLDER, config.seed)
    logger = configure(
        str(folder / "sb3" / f"from-{begun}" if begun else folder / "sb3"), _formats()
    )
    model.set_logger(logger)
    curve, wish = Curve(folder / "metrics.jsonl", config, begun), Wish()
    every = max(1, config.checkpoint_every // config.action_repeat)
    keeper = sb3_resume.Keeper(folder / sb3_resume.FOLDER, every, wish)
    try:
        with listening(wish):
            if begun < config.steps:
                model.learn(config.steps - begun, [curve, keeper], reset_num_timesteps=not begun)
    finally:
        curve.meter.close()
        logger.close()
    if wish:
        raise KeyboardInterrupt(f"saved; go on with --resume --out {folder}")


def _formats() -> list[str]:
    """What SB3's own metrics are written as; TensorBoard events where it is installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        _log.info("no TensorBoard events: pip install 'aime-agent[tensorboard]'")
        return ["csv"]
    return ["csv", "tensorboard"]


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
