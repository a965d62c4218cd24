"""Does meta-training pay? Arms trained on equal episodes adapt to the same tasks, which none has seen.

python -m aime_agent.meta.adaptation_bench JOB/spec.json

runs one arm and seed: it meta-trains (a killed job goes on from its checkpoint), adapts to the tasks
to test with, and writes ``JOB/result.json``.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from aime_agent.configs import config_hash, from_dict, override
from aime_agent.errors import CheckpointError
from aime_agent.meta.adaptation import AdaptationCurve, adaptation_curve
from aime_agent.meta.adaptation_arms import ARMS, check_arms, training_of
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.families import PhysicsFamily, TaskFamily
from aime_agent.meta.named import family_by_name
from aime_agent.meta.presets import meta_preset
from aime_agent.meta.trainer import EnhancedMAMLTrainer
from aime_agent.training.bench.curve import commits, note_commit
from aime_agent.training.bench.files import RESULT, write
from aime_agent.training.bench.queue import Finished, gather, run_queue
from aime_agent.training.bench.rows import save_rows, stored_rows
from aime_agent.training.evaluate import versions
from aime_agent.training.runfolder import machine


@dataclass(frozen=True, kw_only=True)
class AdaptationJob:
    """One arm and seed.

    Args:
        family: Whose tasks.
        arm: Of `ARMS`.
        seed: Decides everything random, the test tasks excepted.
        iterations: Meta-updates.
        preset: Size.
        tasks: Tasks to test with.
        steps: Inner steps there.
        settings: Other settings of training.
    """

    module: ClassVar[str] = "aime_agent.meta.adaptation_bench"

    family: str
    arm: str
    seed: int
    iterations: int
    preset: str = "cpu"
    tasks: int = 20
    steps: int = 5
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"{self.family}-{self.arm}-s{self.seed}"


def compare_adaptation(
    jobs: list[AdaptationJob],
    home: Path,
    results: Path,
    at_a_time: int,
    report: Callable[[Finished], None],
) -> list[Finished]:
    """Runs what is not done yet and adds its rows to a file; returns the jobs that failed."""
    for job in jobs:
        check_arms((job.arm,), job.family)

    def ended(end: Finished) -> None:
        report(end)
        if end.problem is None:
            save_rows([*stored_rows(results), *gather([end.spec], home)], results)

    return run_queue(jobs, home, at_a_time, ended)


def run(job: AdaptationJob, folder: Path) -> dict[str, Any]:
    """Trains and adapts; returns and writes the result."""
    torch.set_num_threads(1)
    note_commit(folder)
    begun, cpu = time.perf_counter(), time.process_time()
    trainer = _trained(job, folder)
    trained_cpu = time.process_time() - cpu
    base = meta_preset(job.preset, job.family, seed=job.seed, **job.settings)
    config = override(base, **(ARMS[job.arm] | {"adaptation_steps": job.steps}))
    family = _family(job, "test", config.max_episode_steps)
    tasks = _test_tasks(family, job.tasks)
    curve = adaptation_curve(trainer.policy, family, tasks, config)
    result = {
        "spec": asdict(job), "arm": job.arm, "family": job.family, "seed": job.seed,
        "finished": True, "iterations": trainer.iteration,
        "training_episodes": trainer.journal.counts["evaluations"],
        "training_steps": trainer.journal.counts["env_steps"],
        "parameters": sum(p.numel() for p in trainer.policy.parameters()),
        "training_cpu_seconds": round(trained_cpu, 1),
        "wall_seconds": round(time.perf_counter() - begun, 1),
        **_figures(curve), "config_hash": config_hash(config), "versions": versions(),
        "machine": machine(), "commits": commits(folder),
    }  # fmt: skip
    write(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def _trained(job: AdaptationJob, folder: Path) -> EnhancedMAMLTrainer:
    base = meta_preset(
        job.preset, job.family, seed=job.seed, save_attention_maps=False, use_wandb=False,
        log_dir=str(folder), checkpoint_dir=str(folder / "checkpoints"), **job.settings,
    )  # fmt: skip
    config: EnhancedMetaLearningConfig = override(base, **training_of(job.arm, base))
    family = _family(job, "train", config.max_episode_steps)
    trainer = EnhancedMAMLTrainer(config, task_distribution=family)
    if job.arm != "scratch":
        try:
            trainer.load_checkpoint()
        except CheckpointError:
            trainer.close()
        trainer.train(max(0, job.iterations - trainer.iteration))
    return trainer


def _family(job: AdaptationJob, split: str, max_steps: int) -> TaskFamily:
    """Returns the tasks; those to test with are the same for every arm and seed."""
    family = family_by_name(job.family, split, job.seed if split == "train" else 0, max_steps)
    if job.arm == "no-units" and isinstance(family, PhysicsFamily):
        return PhysicsFamily(
            family.distribution, family.name, **(family.settings | {"units": False})
        )
    return family


def _test_tasks(family: TaskFamily, count: int) -> list[Any]:
    """Returns every law once, or so many draws."""
    if isinstance(family, PhysicsFamily):
        return list(family.distribution.tasks)[:count]
    return family.sample_task_batch(count)


def _figures(curve: AdaptationCurve) -> dict[str, Any]:
    return {
        "tasks": list(curve.tasks),
        "returns": curve.returns.round(5).tolist(),
        "best": curve.best.round(5).tolist(),
        "solved": curve.solved.tolist(),
        "test_steps": curve.env_steps,
    }


if __name__ == "__main__":
    path = Path(sys.argv[1])
    run(from_dict(AdaptationJob, json.loads(path.read_text())), path.parent)
