"""Scores of a policy: whole episodes, fixed seeds, mean return with a 95 % interval.

The interval of the mean of n returns R_1..R_n is Student's t, which assumes roughly normal returns
and is honest for the ten episodes that papers use (a bootstrap of ten values is too narrow):

    R̄ ± t_{0.975, n-1} · s / √n,    s² = Σ (R_i - R̄)² / (n - 1)

Every policy is a function with Stable-Baselines3's ``predict`` signature, so agents, SB3 models and
the baselines below are scored by the same lines. Evaluation owns its environment and its seeds and
draws nothing from a global generator: it cannot disturb a training run.
"""

import copy
import json
import math
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from aime_agent.errors import ConfigError
from aime_agent.training.seeding import numpy_rng

INTERVAL = "student-t"
_PACKAGES = ("aime-agent", "torch", "gymnasium", "mujoco", "dm-control", "numpy")


@runtime_checkable
class Predict(Protocol):
    """Stable-Baselines3's ``predict``: an observation and a state give an action and a state."""

    def __call__(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, Any]:
        """Returns the action and the state to hand to the next call."""
        ...


class EvalResult(NamedTuple):
    """What a policy scored; element i of each tuple belongs to episode i."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    """Agent steps (not frames: multiply by the action repeat)."""
    seeds: tuple[int, ...]
    """Seed that episode i was reset with."""
    mean: float
    ci95: tuple[float, float] | None
    """Student-t interval of the mean; None for one episode, which has no spread."""


def evaluate(
    policy_predict: Predict,
    env: gym.Env[Any, Any],
    episodes: int,
    seed: int,
    max_steps: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> EvalResult:
    """Plays whole episodes with the deterministic policy and returns their scores.

    Args:
        policy_predict: ``predict`` of an agent, an SB3 model, or a baseline of this module.
        env: A single environment; the caller closes it.
        episodes: How many episodes, at least 1.
        seed: Episode k is reset with `evaluation_seed` (seed, k).
        max_steps: Cut episodes after so many agent steps; None plays to the end.
        report: Called with (k, return) as episode k ends.
    """
    if episodes < 1:
        raise ConfigError(f"episodes must be at least 1, found {episodes}")
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"max_steps must be at least 1, found {max_steps}")
    seeds = tuple(evaluation_seed(seed, k) for k in range(episodes))
    scores = []
    for k, s in enumerate(seeds):
        scores.append(_play(policy_predict, env, s, max_steps))
        if report is not None:
            report(k, scores[-1][0])
    returns = tuple(score for score, _ in scores)
    lengths = tuple(length for _, length in scores)
    return EvalResult(returns, lengths, seeds, math.fsum(returns) / episodes, interval(returns))


def evaluation_seed(seed: int, episode: int) -> int:
    """Returns the reset seed of an evaluation episode, from a stream of its own.

    >>> evaluation_seed(0, 1) == evaluation_seed(0, 1) != evaluation_seed(0, 2)
    True
    """
    return int(numpy_rng(seed, "evaluation", episode).integers(2**31))


def interval(values: tuple[float, ...]) -> tuple[float, float] | None:
    """Returns the 95 % Student-t interval of the mean, or None for a single value.

    >>> low, high = interval((1.0, 2.0, 3.0))
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    half = t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def t_quantile(degrees: int, probability: float = 0.95) -> float:
    """Returns t with P(-t < T < t) = ``probability`` for Student's T, by bisection.

    The probability is Abramowitz & Stegun 26.7.3-4, exact for whole degrees of freedom.

    >>> round(t_quantile(9), 3)
    2.262
    """
    low, high = 0.0, 1e6
    while high - low > 1e-10 * max(1.0, low):
        middle = (low + high) / 2
        if _t_inside(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def random_policy(action_space: gym.Space[Any], seed: int) -> Predict:
    """Returns a policy that draws uniform actions from its own copy of the space."""
    space = copy.deepcopy(action_space)
    space.seed(seed)

    def predict(
        observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        del observation, episode_start, deterministic
        return space.sample(), state

    return predict


def zero_policy(action_space: gym.Space[Any]) -> Predict:
    """Returns a policy that always does nothing: zeros, or action 0 of a discrete space."""
    shape, dtype = action_space.shape, action_space.dtype
    if shape is None or dtype is None:
        raise ConfigError(f"zero_policy needs a Box or Discrete action space, found {action_space}")
    action = np.zeros(shape, dtype)

    def predict(
        observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        del observation, episode_start, deterministic
        return action.copy(), state

    return predict


def untrained(agent: Any) -> Predict:
    """Returns ``predict`` of a new agent of the same configuration, as it was before training."""
    predict: Predict = type(agent)(agent.config, agent.device).predict
    return predict


def save_result(result: EvalResult, path: Path, action_repeat: int, **context: Any) -> None:
    """Writes the scores with all it takes to repeat them as one JSON file.

    Args:
        result: What `evaluate` returned.
        path: The JSON file; replaced in one step if it exists.
        action_repeat: Physics control steps per agent step, to state frames.
        **context: Further facts: task, policy, seed, render quality, checkpoint.
    """
    scores = result._asdict()
    report = {
        **context,
        **scores,
        "interval": INTERVAL,
        "episodes": len(result.returns),
        "action_repeat": action_repeat,
        "frames": sum(result.lengths) * action_repeat,
        "versions": versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.replace(path)


def versions() -> dict[str, str]:
    """Returns Python's version and those of the packages that decide a score."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _play(
    predict: Predict, env: gym.Env[Any, Any], seed: int, max_steps: int | None
) -> tuple[float, int]:
    """Returns the return and the length of one episode."""
    observation, _ = env.reset(seed=seed)
    state, done, length = None, False, 0
    rewards: list[float] = []
    while not done and length != max_steps:
        start = np.array([length == 0])
        action, state = predict(observation, state, episode_start=start, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        done = bool(terminated or truncated)
        length += 1
    return math.fsum(rewards), length


def _t_inside(t: float, degrees: int) -> float:
    """Returns P(-t < T < t) for Student's T with whole degrees of freedom."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
