"""As resume_worker, with the package's own agent instead of the toy one."""

import hashlib
from pathlib import Path

import resume_worker
import toy

from aime_agent.agents.aime import AimeAgent
from aime_agent.training.parts import Factories
from aime_agent.training.train import train

SETTINGS = {
    "preset": "tiny",
    "frames": 96,
    "prefill_frames": 48,
    "pretrain_updates": 4,
    "train_every": 3,
    "batch_size": 2,
    "sequence_length": 5,
    "checkpoint_every": 24,
    "log_every": 2,
    "image_every": 3,
    "image_size": 32,
    "threads": 1,
    "world_model": {
        "use_rgb": True,
        "weights": {"generator": 0.1, "feature_matching": 0.1, "gram": 0.05},
    },
    "agent": {
        "dream_starts": 4,
        "horizon": 3,
        "actor_units": 16,
        "augment": "zoom",
        "schedule": {"adversarial_fraction": 0.0, "disc_every": 2},
    },
}


def digest(agent):
    """Hash of everything that learning changes."""
    state = sorted(agent.state_dict().items())
    return hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in state)).hexdigest()


def run(folder, event=None, count="0"):
    if event:
        resume_worker.kill_at(event, int(count))
    agent = train(
        "toy",
        out=folder,
        resume=(Path(folder) / "config.json").exists(),
        factories=Factories(lane=toy.lane, evaluate=lambda config: None),
        **SETTINGS,
    )
    (Path(folder) / "digest").write_text(digest(agent))


if __name__ == "__main__":
    resume_worker.EVENTS["update"] = (AimeAgent, "update")
    resume_worker.run = run
    resume_worker.main()
