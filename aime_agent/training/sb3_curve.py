"""How training with Stable-Baselines3 goes: ``metrics.jsonl`` and a meter."""

import json
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from aime_agent.training.progress import Meter
from aime_agent.training.sb3_config import Sb3Config
from aime_agent.training.spending import spent


class Curve(BaseCallback):  # type: ignore[misc]
    """Writes how training goes, and shows it.

    Args:
        path: The JSON lines.
        config: Says how many frames an action takes, and how many there are.
        begun: Step that a resumed run goes on from; later lines are taken back.
        points: How many lines.
    """

    def __init__(self, path: Path, config: Sb3Config, begun: int = 0, points: int = 50) -> None:
        super().__init__()
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [x for x in lines if json.loads(x)["frames"] <= begun * config.action_repeat]
        path.write_text("".join(line + "\n" for line in kept))
        self.before = json.loads(kept[-1]) if kept else {}
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
        row = {"frames": done, "return_per_1000_frames": mean, **spent(self.before)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        note = "" if mean is None else f"return {mean:.1f} per 1,000 frames"
        self.meter.show(min(done, self.total), note)
        return True
