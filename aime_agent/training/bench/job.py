"""One arm, one task, one seed: fit on stored episodes, judge on held-out ones.

python -m aime_agent.training.bench.job JOB/spec.json

writes ``JOB/result.json`` and ``JOB/strips.npz``. Time is processor time of sampling and updates;
evaluation is not counted. At every point of the curve the state is saved, and a killed job goes on
from there.
"""

import io
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aime_agent.configs import config_hash, from_dict
from aime_agent.training.averages import Averages
from aime_agent.training.bench.arms import count_parameters, find_arms
from aime_agent.training.bench.data import Stored, load
from aime_agent.training.bench.files import RESULT, write
from aime_agent.training.bench.fit import Fit, JobSpec
from aime_agent.training.evaluate import versions
from aime_agent.training.prediction import PredictionConfig, evaluate_prediction
from aime_agent.training.runfolder import machine

STRIPS = "strips.npz"
STRIP_HORIZONS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 45)
"""Predicted frames that a strip shows."""


def run(spec: JobSpec, folder: Path) -> dict[str, Any]:
    """Runs a job to its end, from where it was interrupted; returns and writes the result."""
    torch.set_num_threads(1)
    stored = load(Path(spec.data))
    with TemporaryDirectory(prefix="aime-bench-") as scratch:
        fit = Fit(spec, stored, folder, Path(scratch))
        progress = fit.load()
        if progress is None:
            fit.begin()
            progress = {"spec": asdict(spec), "updates": 0, "cpu": 0.0, "wall": 0.0, "curve": []}
        for point in [p for p in spec.points if p > progress["updates"]]:
            progress = _advance(fit, progress, point)
            fit.save(progress)
        result = _finish(fit, progress, stored)
    write(folder / STRIPS, strips(fit))
    write(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def _advance(fit: Fit, progress: dict[str, Any], until: int) -> dict[str, Any]:
    """Updates up to a point of the curve, and adds the point."""
    averages = Averages()
    cpu, wall = time.process_time(), time.perf_counter()
    for step in range(progress["updates"], until):
        metrics = fit.update(step)
        averages.add({k: v for k, v in metrics.items() if v.ndim == 0})
    spent = progress["cpu"] + time.process_time() - cpu
    passed = progress["wall"] + time.perf_counter() - wall
    quick = PredictionConfig(futures=0, seed=fit.spec.seed)
    scores = evaluate_prediction(fit.model, fit.held.curve, fit.held.mean_frame, quick)
    point = {
        "updates": until,
        "cpu_seconds": spent,
        "pictures": scores["pictures"]["likeliest"],
        "reward": scores["reward"],
        "latent": scores["latent"]["error"],
        "bits_per_dim": scores["bits_per_dim"],
        "training": averages.take(),
    }
    curve = [*progress["curve"], point]
    return {**progress, "updates": until, "cpu": spent, "wall": passed, "curve": curve}


def _finish(fit: Fit, progress: dict[str, Any], stored: Stored) -> dict[str, Any]:
    """Judges the fitted model and gathers all it takes to repeat the job."""
    spec, held = fit.spec, fit.held
    (arm,) = find_arms(spec.arm)
    judged = PredictionConfig(futures=spec.futures, seed=spec.seed)
    return {
        "spec": asdict(spec),
        "arm": {"name": arm.name, "what": arm.what, "base": arm.base},
        "parameters": count_parameters(fit.world),
        "hidden_dim": fit.world.hidden_dim,
        "config_hash": config_hash(fit.world),
        "training_hash": config_hash(fit.training),
        "cpu_seconds": progress["cpu"],
        "wall_seconds": progress["wall"],
        "cpu_seconds_per_update": progress["cpu"] / spec.updates,
        "curve": progress["curve"],
        "final": evaluate_prediction(fit.model, held.full, held.mean_frame, judged),
        "data": stored.facts,
        "versions": versions(),
        "machine": machine(),
    }


@torch.no_grad()
def strips(fit: Fit) -> bytes:
    """Pictures of held-out windows: real, likeliest and one sampled future, as an npz file."""
    windows, context = fit.held.strips, PredictionConfig().context
    rows = torch.tensor((0, *STRIP_HORIZONS)) + context - 1
    model = fit.model.eval()

    def predicted(deterministic: bool) -> Tensor:
        out = model.predict_future(
            windows.frames[:, :context],
            windows.actions[:, : context - 1],
            future_actions=windows.actions[:, context - 1 : -1],
            deterministic=deterministic,
        )
        if out.observations is None:
            raise ValueError("frames: decoded ones are needed, found none")
        return out.observations[:, torch.tensor(STRIP_HORIZONS) - 1]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.spec.seed)
        likeliest, sampled = predicted(True), predicted(False)
    file = io.BytesIO()
    np.savez_compressed(
        file,
        real=_bytes(windows.frames[:, rows] / 255.0),
        likeliest=_bytes(likeliest),
        sampled=_bytes(sampled),
        horizons=np.array(STRIP_HORIZONS),
    )
    return file.getvalue()


def _bytes(frames: Tensor) -> np.ndarray:
    """Frames as uint8, channels last."""
    return (frames * 255).round().to(torch.uint8).movedim(-3, -1).numpy()


def main(path: Path) -> None:
    """Runs the job of a spec file."""
    run(from_dict(JobSpec, json.loads(path.read_text())), path.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
