"""A law grows on film, and every frame shows where the policy looks before it writes the next node.

Each frame is the tree of ``AIME/SymbolicDiscovery-v0`` with one weight per node (the mean over heads and
queries), above a line that says what is written next, how likely that was, and how even the shown weights
are: their entropy over log n, 1 where all nodes count alike. Heads that each look at one node give an even
map where they look at different ones.
"""

from collections.abc import Iterator, Sequence
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from aime_agent.envs.symbolic import SymbolicDiscoveryEnv
from aime_agent.errors import ConfigError
from aime_agent.meta.families import check_fit
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.symbolic.picture import COLD, HOT, label_of
from aime_agent.training.film import Film, check_suffix, write_film
from aime_agent.training.panels import BACKGROUND, FAINT, INK, Picture, font

_RATE, _HOLD, _LAST = 15.0, 15, 45
"""Frames per second, frames per step, frames of the finished law."""
_FOOT, _LETTERS = 64, 17
_MOST_ON_SHEET, _COLUMNS = 6, 3


class GrowthStep(NamedTuple):
    """One look at the tree."""

    picture: Picture
    weights: Float[np.ndarray, "N"]
    """Attention per node, in the order in which they were written."""

    @property
    def evenness(self) -> float:
        """−Σ w log w over log n; 0 for fewer than two nodes."""
        if len(self.weights) < 2:
            return 0.0
        return float(
            -(self.weights * np.log(self.weights.clip(1e-12))).sum() / log(len(self.weights))
        )


class Growth(NamedTuple):
    """What was written and shown."""

    film: Film
    sheet: Path
    steps: list[GrowthStep]
    reward: float


def save_growth(
    policy: EnhancedMetaLearningPolicy,
    env: gymnasium.Env[Any, Any],
    task: Any,
    path: Path | str | None = None,
    context: Float[Tensor, "1 J T F"] | None = None,
    seed: int = 0,
) -> Growth:
    """Lets a policy write one law; saves film and sheet.

    Args:
        policy: Who writes; it draws its tokens.
        env: ``AIME/SymbolicDiscovery-v0`` with ``render_mode="rgb_array"``.
        task: A task or its name.
        path: Film, ``.mp4`` or ``.gif``; None for ``videos/attention_{task}.mp4``. The sheet lies beside it.
        context: What the policy is told of the task (`prepare_task_context`); None for nothing.
        seed: Of rows and tokens.

    Raises:
        ConfigError: the policy does not fit the environment, which draws no pictures, or the file's name is
            no film's.
    """
    if path is not None:
        check_suffix(path)
    steps, reward = grow(policy, env, task, context, seed)
    named = Path("videos") / f"attention_{_core(env).task.name}.mp4"
    file = named if path is None else Path(path)
    film = write_film(file, _held([step.picture for step in steps]), _RATE)
    sheet = file.with_suffix(".png")
    growth_sheet(steps).save(sheet, optimize=True)
    return Growth(film, sheet, steps, reward)


def grow(
    policy: EnhancedMetaLearningPolicy,
    env: gymnasium.Env[Any, Any],
    task: Any,
    context: Float[Tensor, "1 J T F"] | None = None,
    seed: int = 0,
) -> tuple[list[GrowthStep], float]:
    """Plays one episode; returns what was seen before every token and after the last, and the reward."""
    law = _core(env)
    flat = gymnasium.wrappers.FlattenObservation(env)
    check_fit(policy, flat)
    told = policy.empty_context() if context is None else context
    seen, info = flat.reset(seed=seed, options={"task": task})
    steps, reward, done = list[GrowthStep](), 0.0, False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        while not done:
            token, thought = policy.act(seen, told, info["action_prior"])
            chance = exp(thought["log_prob"])
            words = f"writes {label_of(token, law.task.names)} (probability {chance:.2f})"
            steps.append(_look(law, thought, len(steps), f"node {len(steps) + 1}: {words}"))
            seen, worth, done, _, info = flat.step(token)
            reward = float(worth)
    _, thought = policy.act(seen, told)
    return [*steps, _look(law, thought, len(steps), "the law is finished")], reward


def growth_sheet(steps: Sequence[GrowthStep]) -> Image.Image:
    """Returns the last look at a tree and others, evenly chosen, in rows of three."""
    shown = np.linspace(0, len(steps) - 1, min(_MOST_ON_SHEET, len(steps))).round().astype(int)
    height, width, _ = steps[0].picture.shape
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (min(_COLUMNS, len(shown)) * width, rows * height), BACKGROUND)
    for k, i in enumerate(shown):
        row, column = divmod(k, _COLUMNS)
        sheet.paste(Image.fromarray(steps[i].picture), (column * width, row * height))
        corner = ((column + 1) * width - 1, (row + 1) * height - 1)
        ImageDraw.Draw(sheet).rectangle((column * width, row * height, *corner), outline=FAINT)
    return sheet.quantize(128)


def _core(env: gymnasium.Env[Any, Any]) -> SymbolicDiscoveryEnv:
    law = env.unwrapped
    if not isinstance(law, SymbolicDiscoveryEnv) or law.render_mode != "rgb_array":
        raise ConfigError(
            "env must be AIME/SymbolicDiscovery-v0 with render_mode='rgb_array', found "
            f"{type(law).__name__} with {law.render_mode!r}"
        )
    return law


def _look(law: SymbolicDiscoveryEnv, thought: dict[str, Any], count: int, words: str) -> GrowthStep:
    """Returns the picture of the present tree of ``count`` nodes under the weights of a thought."""
    weights = thought["attention_weights"][:count]
    law.show_attention(weights)
    tree = law.render()
    assert isinstance(tree, np.ndarray)
    step = GrowthStep(tree, weights)
    return step._replace(picture=_with_foot(step, words))


def _with_foot(step: GrowthStep, words: str) -> Picture:
    """Adds a line of words and the scale of attention."""
    height, width, _ = step.picture.shape
    image = Image.new("RGB", (width, height + _FOOT), BACKGROUND)
    image.paste(Image.fromarray(step.picture), (0, 0))
    draw = ImageDraw.Draw(image)
    first, second = height + _LETTERS // 2, height + _FOOT - _LETTERS * 5 // 4
    draw.text((_LETTERS, first), words, INK, font(_LETTERS), anchor="lm")
    if not len(step.weights):
        _written(draw, (_LETTERS, second), "there is nothing to look at yet")
        return np.asarray(image)
    x = _LETTERS + _written(draw, (_LETTERS, second), "attention 0 ") + 6
    scale = width // 4
    for i in range(scale):
        colour = COLD + i / (scale - 1) * (HOT - COLD)
        draw.line((x + i, second - 7, x + i, second + 7), tuple(int(c) for c in colour))
    _written(draw, (x + scale + 6, second), f"{step.weights.max():.2f}")
    even = f"evenness {step.evenness:.2f} (1: all alike)"
    draw.text((width - _LETTERS, second), even, FAINT, font(_LETTERS), anchor="rm")
    return np.asarray(image)


def _written(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> int:
    """Writes faintly; returns the width."""
    draw.text(at, text, FAINT, font(_LETTERS), anchor="lm")
    return int(draw.textlength(text, font(_LETTERS)))


def _held(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """Yields every picture for a second, the last one for three."""
    for picture in pictures[:-1]:
        yield from [picture] * _HOLD
    yield from [pictures[-1]] * _LAST
