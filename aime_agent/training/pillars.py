"""Which pillars a trained agent uses: take one away at a time and see what gets worse.

On frames of new episodes, played by the agent in its own environment, each of
`aime_agent.training.ablations.ABLATIONS` is applied, and the change of four terms is reported, in
nats per frame and percent: reconstruction, the bound U on KL(q ‖ p), reward, and U after 1..3
open-loop prior steps. Arms share their noise and are compared window by window.

A change counts if it is a worsening of at least 1 % of the term and of at least 0.1 nats: a tenth of
the default free nats, below which training itself does not look. A part with no change that counts
is idle. The slot decoder reads nothing but slots, so its own error is shown but never makes slots
busy. Changes differ between windows; one that rests on few of them shows in the standard error.
What follows the ablations (`aime_agent.training.health`) says how much of each part is in use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from aime_agent.agents.aime import AimeAgent
from aime_agent.structs import Batch
from aime_agent.training.ablations import ABLATIONS, Ablation, Terms, measure
from aime_agent.training.health import Row, health_rows
from aime_agent.training.seeding import numpy_rng
from aime_agent.training.train_offline import held_out_batch
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel

SHARE, NATS = 0.01, 0.1
"""A change counts from this share of the term and this many nats on."""

_COUNTED = Terms._fields[:-1]
_Stored = tuple[np.ndarray, np.ndarray, float, bool, bool]


class Change(NamedTuple):
    """How much worse a term became."""

    nats: float
    error: float
    """Standard error of the mean over windows."""
    share: float
    """Of the term itself."""

    @property
    def counts(self) -> bool:
        """Whether it is large enough to call a part busy."""
        return self.nats >= NATS and self.share >= SHARE


def pillar_report(run: str | Path, windows: int = 12, length: int = 32, seed: int = 0) -> list[Row]:
    """Plays new episodes with a trained agent and says which of its pillars are idle.

    A world model that was trained from a dataset is examined on the episodes held out from it.

    Args:
        run: Run folder or checkpoint.
        windows: How many windows to compare.
        length: Frames per window.
        seed: Of the episodes; they are others than those of training and evaluation.

    Raises:
        CheckpointError: there is no valid checkpoint.
    """
    agent = AimeAgent.from_pretrained(run)
    batch = held_out_batch(run, windows, length, seed)
    if batch is not None:
        return pillar_rows(agent.world_model, batch)
    env = agent.make_env()
    try:
        batch = held_out(agent, env, windows, length, seed)
    finally:
        env.close()
    return pillar_rows(agent.world_model, batch)


def held_out(
    agent: AimeAgent, env: gym.Env[Any, Any], windows: int, length: int, seed: int
) -> Batch:
    """Plays whole episodes deterministically and cuts the stream of rows into windows."""
    rows: list[_Stored] = []
    episode = 0
    while len(rows) < windows * length:
        start = int(numpy_rng(seed, "pillars", episode).integers(2**31))
        rows += _play(agent, env, start, windows * length - len(rows))
        episode += 1

    def cut(values: Any, dtype: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype)).unflatten(0, (windows, length))

    frames, actions, rewards, ends, firsts = zip(*rows[: windows * length], strict=True)
    return Batch(
        cut(frames, np.uint8).permute(0, 1, 4, 2, 3),
        cut(actions, np.float32),
        cut(rewards, np.float32),
        cut(ends, bool),
        cut(firsts, bool),
    )


@torch.no_grad()
def pillar_rows(model: AimeWorldModel, batch: Batch) -> list[Row]:
    """Returns a row about the data, one for each of `ABLATIONS` that the model can lose, and health.

    Args:
        model: The world model; it is put into eval mode.
        batch: Windows that it has not learned from.
    """
    model.eval()
    frames = model.images(batch.observations)
    data = SequenceData(
        frames,
        batch.actions.to(frames),
        batch.is_first.to(frames.device),
        batch.rewards.to(frames),
        batch.terminated.to(frames.device),
    )
    whole = measure(model, data, Ablation("nothing", ""))
    count = batch.rewards.numel()
    parts = ", ".join(f"{k.replace('_', ' ')} {v.mean():.2f}" for k, v in whole._asdict().items())
    rows: list[Row] = [
        ("held-out loss", f"{parts} nats per frame, {count} frames; * counts", True, "")
    ]
    for ablation in ABLATIONS:
        if not ablation.present(model.config):
            continue
        found = changes(whole, measure(model, data, ablation))
        busy = any(found[name].counts for name in _COUNTED)
        text = ", ".join(_phrase(name, change) for name, change in found.items())
        rows.append((f"without {ablation.name}", text, busy, f"idle: {ablation.remedy}"))
    return rows + health_rows(model, data)


def changes(whole: Terms, without: Terms) -> dict[str, Change]:
    """Returns by how much each term is worse without something; terms that stay equal too.

    >>> one = torch.ones(4)
    >>> changes(Terms(one, one, one, one, one), Terms(2 * one, one, one, one, one))["kl"]
    Change(nats=0.0, error=0.0, share=0.0)
    """
    found = {}
    for name, old, new in zip(Terms._fields, whole, without, strict=True):
        worse = new - old
        nats = float(worse.mean())
        error = float(worse.std() / len(worse) ** 0.5) if len(worse) > 1 else 0.0
        found[name] = Change(nats, error, nats / max(abs(float(old.mean())), 1e-9))
    return found


def _play(agent: AimeAgent, env: gym.Env[Any, Any], seed: int, most: int) -> list[_Stored]:
    """Rows (frame, action, reward, terminated, is_first) of one episode, at most so many."""
    observation, _ = env.reset(seed=seed)
    state, reward, rows = None, 0.0, list[_Stored]()
    while len(rows) < most:
        action, state = agent.predict(observation, state)
        rows.append((_pixels(observation), action, reward, False, not rows))
        observation, received, terminated, truncated, _ = env.step(action)
        reward = float(received)
        if terminated or truncated:
            last = np.zeros_like(action)
            rows.append((_pixels(observation), last, reward, bool(terminated), False))
            break
    return rows


def _pixels(observation: Any) -> np.ndarray:
    return np.asarray(observation["pixels"] if isinstance(observation, Mapping) else observation)


def _phrase(name: str, change: Change) -> str:
    mark = "*" if change.counts and name in _COUNTED else ""
    nats = f"{change.nats:+.2f} ± {change.error:.2f}"
    return f"{name.replace('_', ' ')} {nats} ({100 * change.share:+.1f} %){mark}"
