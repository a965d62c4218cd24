"""How far a policy carries over from dreams to reality: both returns per 1,000 frames, and random's."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from aime_agent.data.files import write_json
from aime_agent.errors import MissingDependencyError
from aime_agent.training import evaluate as scoring
from aime_agent.training.plotting import new_figure
from aime_agent.training.sb3_config import Sb3Config

FILE, PICTURE = "transfer.json", "transfer.png"


class Score(NamedTuple):
    """Returns per 1,000 frames."""

    mean: float
    ci95: tuple[float, float] | None
    """Student-t interval of the mean."""
    values: tuple[float, ...]


class Transfer(NamedTuple):
    """What a policy scores; None where there was no dream, or no episode was played."""

    dream: Score | None
    dream_random: Score | None
    real: Score | None
    real_random: Score | None

    @property
    def gap(self) -> float | None:
        """Dream minus reality, per 1,000 frames."""
        if self.dream is None or self.real is None:
            return None
        return self.dream.mean - self.real.mean


def measure(agent: Any, config: Sb3Config, dreams: VecEnv | None) -> Transfer:
    """Plays one round of dreams and some real episodes, and the same with random actions.

    Args:
        agent: Plays from frames; ``agent.player.policy`` plays from beliefs.
        config: Says how many, and how many frames an action takes.
        dreams: As many as should be measured; closed at the end. None for no dreams.
    """
    dreamt: list[Score | None] = [None, None]
    if dreams is not None:
        try:
            dreamt = [_dream(dreams, config, policy) for policy in (agent.player.policy, None)]
        finally:
            dreams.close()
    real: list[Score | None] = [None, None]
    if config.eval_episodes:
        env = agent.make_env()
        try:
            players = (agent.predict, scoring.random_policy(env.action_space, config.seed))
            for i, predict in enumerate(players):
                result = scoring.evaluate(predict, env, config.eval_episodes, config.seed)
                frames = np.array(result.lengths) * config.action_repeat
                real[i] = score(np.array(result.returns) * 1000 / frames)
        finally:
            env.close()
    return Transfer(dreamt[0], dreamt[1], real[0], real[1])


def score(values: np.ndarray) -> Score:
    """Returns the mean with its interval.

    >>> score(np.array([1.0, 2.0, 3.0])).mean
    2.0
    """
    found = tuple(float(v) for v in values)
    return Score(float(np.mean(values)), scoring.interval(found), found)


def save(result: Transfer, folder: Path) -> None:
    """Writes ``transfer.json``."""
    scores = {k: None if v is None else v._asdict() for k, v in result._asdict().items()}
    write_json(folder / FILE, {"per": "1000 frames", "gap": result.gap, **scores})


def lines(result: Transfer) -> list[str]:
    """Returns the measurement as people read it."""
    rows = {
        "dream": result.dream,
        "dream, random actions": result.dream_random,
        "real": result.real,
        "real, random actions": result.real_random,
    }
    found = ["return per 1,000 frames"]
    for name, row in rows.items():
        if row is not None:
            interval = "" if row.ci95 is None else "  95% [{:.1f}, {:.1f}]".format(*row.ci95)
            found.append(f"  {name:<22} {row.mean:8.1f}{interval}  ({len(row.values)})")
    if result.gap is not None:
        found.append(f"  {'transfer gap':<22} {result.gap:8.1f}  (dream - real)")
    return found


def plot(folder: Path) -> Path | None:
    """Draws training, and dream against reality, from the run's files; None without matplotlib."""
    try:
        figure, axes = _axes()
    except MissingDependencyError:
        return None
    curve = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    known = [(row["frames"], row["return_per_1000_frames"]) for row in curve]
    known = [(x, y) for x, y in known if y is not None]
    axes[0].plot([x for x, _ in known], [y for _, y in known], color="#0072B2", lw=2)
    axes[0].set(xlabel="frames trained on", ylabel="return per 1,000 frames", title="training")
    result = json.loads((folder / FILE).read_text())
    names = {"dream": "dream", "dream_random": "dream,\nrandom", "real": "real"}
    names |= {"real_random": "real,\nrandom"}
    colors = ("#0072B2", "#99C7E6", "#D55E00", "#F2B48C")
    for i, key in enumerate(names):
        if result[key] is None:
            continue
        values, mean = result[key]["values"], result[key]["mean"]
        axes[1].bar(i, mean, color=colors[i], width=0.7)
        spots = i + np.linspace(-0.25, 0.25, len(values))
        axes[1].plot(spots, values, "o", color="black", alpha=0.3, ms=3, mec="none")
        if result[key]["ci95"] is not None:
            low, high = result[key]["ci95"]
            axes[1].errorbar(i, mean, [[mean - low], [high - mean]], color="black", capsize=6, lw=2)
        names[key] += f"\n{mean:.0f}"
    axes[1].set_xticks(range(len(names)), list(names.values()))
    gap = result["gap"]
    title = "after training" if gap is None else f"after training: transfer gap {gap:.0f}"
    axes[1].set(title=title)
    path = folder / PICTURE
    figure.savefig(path, dpi=120)
    return path


def _axes() -> tuple[Any, Any]:
    """A figure of two panels that share their height."""
    figure = new_figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", alpha=0.3)
    return figure, axes


def _dream(env: VecEnv, config: Sb3Config, policy: Any) -> Score:
    """One dream per environment: of the policy, or of uniform actions."""
    env.seed(config.seed)
    observation, alive = env.reset(), np.ones(env.num_envs, dtype=bool)
    rng = np.random.default_rng(config.seed)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs)
    memory, start = None, np.ones(env.num_envs, dtype=bool)
    shape = (env.num_envs, *env.action_space.shape)
    while alive.any():
        if policy is None:
            action = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            action, memory = policy.predict(observation, memory, start, deterministic=True)
        observation, reward, start, _ = env.step(action)
        returns += alive * reward
        lengths += alive
        alive &= ~start
    return score(returns * 1000 / (lengths * config.action_repeat))
