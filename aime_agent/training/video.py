"""Films of who plays and of what a world model makes of it.

| layout | shows |
|---|---|
| ``dream`` | real frame, reconstruction, open-loop dream, attention, slots, rewards |
| ``overlay`` | attention and slots over real frames, or over frames that the model dreams |
| ``futures`` | several dreamt futures of one start beside what really happened |
| ``compare`` | two policies in the same episode, with their returns |

    o_1 .. o_{M-1}   real frames, shown to the model
    o^_M .. o^_T     open-loop prediction from them and the actions a_{M-1} .. a_{T-1} alone

`record` streams frames into an mp4 or a GIF. The dream panel cannot cheat: `observe` hands
`predict_future` no row from the mark on.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.training.dream_frame import Recording, compose_frame, contact_sheet
from aime_agent.training.evaluate import evaluation_seed
from aime_agent.training.film import check_suffix, write_film
from aime_agent.training.panels import Picture
from aime_agent.training.players import Seen, Turn, checked
from aime_agent.training.record_config import MOST_STEPS, RecordConfig
from aime_agent.training.scenes import (
    Seat,
    check_pair,
    comparison,
    frame_rate,
    futures,
    overlay,
    seat,
)
from aime_agent.training.views import even_where_none, parts, rgb

__all__ = ["MOST_STEPS", "Played", "RecordConfig", "check_files", "collect", "observe", "record"]


class Played(NamedTuple):
    """A stretch of an episode; row t holds o_t, the reward that came with it, and a_t after it."""

    observations: UInt8[np.ndarray, "T H W C"]
    actions: Float[np.ndarray, "T A"]
    """Zeros in the last row, whose action was never played."""
    rewards: Float[np.ndarray, " T"]
    first_step: int
    fps: float
    earlier: float = 0.0
    """Return of the steps before."""


def record(
    agent: Any,
    path: str | Path,
    config: RecordConfig | None = None,
    sheet: str | Path | None = None,
    *,
    policy: Any = None,
    other: Any = None,
    progress: bool = False,
    **overrides: Any,
) -> Path:
    """Plays episodes and writes the film; returns its path.

    Args:
        agent: An `AimeAgent`: its environment, and its world model looks on.
        path: The ``.mp4`` or ``.gif`` file; written beside and moved into place when complete.
        config: What to show.
        sheet: A ``.png`` file for the contact sheet of the first episode with the layout ``dream``,
            and for the frame three quarters through it with the others; None for none.
        policy: Who plays: ``random``, ``zero``, a `Seat`, or anything with Stable-Baselines3's
            ``predict``; None for the agent.
        other: The second policy of ``compare``; None for random actions.
        progress: Show a meter on stderr.
        **overrides: Fields of `RecordConfig`.

    Raises:
        ConfigError: a setting or a file's name is wrong, or the policies do not fit together.
        KeyboardInterrupt: Ctrl-C was pressed; the film ends there, and plays.
    """
    c, path = override(config or RecordConfig(), **overrides), Path(path)
    check_files(path, sheet)
    if other is not None and c.layout != "compare":
        raise ConfigError(f"other: layout 'compare' required, found {c.layout!r}")
    who = policy if isinstance(policy, Seat) else seat(agent, policy, c.seed)
    total = c.episodes * c.steps if progress else None
    with ExitStack() as stack:
        env = stack.enter_context(closing(who.open()))
        rate = frame_rate(env)
        if c.layout == "compare":
            pair = (
                who,
                other if isinstance(other, Seat) else seat(agent, other or "random", c.seed),
            )
            check_pair(pair)
            envs = (env, stack.enter_context(closing(pair[1].open())))
            frames = _episodes(c, sheet, lambda seed: comparison(pair, envs, c, seed))
        elif c.layout == "dream":
            frames = _dreams(who, env, c, sheet)
        else:
            make = overlay if c.layout == "overlay" else futures
            frames = _episodes(c, sheet, lambda seed: make(who, env, c, seed))
        film = write_film(path, stack.enter_context(closing(frames)), rate, total)
    if not film.complete:
        raise KeyboardInterrupt(f"{path} holds the first {film.frames} frames")
    return path


def collect(
    agent: Any, seed: int, steps: int = MOST_STEPS, first_step: int = 0, policy: Any = None
) -> Played:
    """Plays one episode from ``seed`` and returns ``steps`` rows of it, from ``first_step`` on.

    Args:
        agent: An `AimeAgent`.
        seed: Of the episode.
        steps: Rows wanted.
        first_step: Steps played before the first row.
        policy: Who plays, as for `record`.
    """
    who = seat(agent, policy, seed)
    with closing(who.open()) as env:
        return _collect(who, env, seed, steps, first_step)


@torch.no_grad()
def observe(world_model: Any, played: Played, task: str, mark: int | None = None) -> Recording:
    """Runs the model over a played stretch: once with all frames, once dreaming from ``mark``.

    Args:
        world_model: An `AimeWorldModel` in evaluation mode.
        played: What `collect` returned.
        task: Name shown in the caption.
        mark: First row that the dream must not see; None is a quarter of the stretch.
    """
    length = len(played.observations)
    mark = max(2, length // 4) if mark is None else mark
    if not 1 <= mark < length:
        raise ConfigError(f"mark must lie in 1..{length - 1}, found {mark}")
    like = next(world_model.parameters())
    frames = torch.from_numpy(played.observations).permute(0, 3, 1, 2)[None].to(like.device)
    actions = torch.from_numpy(played.actions)[None].to(like)
    is_first = torch.arange(length, device=like.device)[None] == 0
    seen = world_model.forward_sequence(frames, actions, is_first)
    dreamed = world_model.predict_future(
        frames[:, :mark],
        actions[:, : mark - 1],
        future_actions=actions[:, mark - 1 : length - 1],
        deterministic=True,
        decode=True,
    )
    return Recording(
        task=task,
        first_step=played.first_step,
        mark=mark,
        observations=rgb(played.observations),
        reconstructions=_pixels(seen.reconstructions[0]),
        dream=_pixels(dreamed.observations[0]),
        attention=even_where_none(
            _array(seen.attention_maps[0]), seen.slot_attention_maps.shape[-1]
        ),
        slot_maps=_array(seen.slot_attention_maps[0]),
        slot_centers=_array(seen.slot_centers[0]),
        slot_mass=_array(seen.slot_mass[0]),
        rewards=played.rewards,
        predicted_rewards=_array(seen.predicted_rewards[0]),
        dreamed_rewards=_array(dreamed.rewards[0]),
        fps=played.fps,
        earlier=played.earlier,
    )


def check_files(video: str | Path, sheet: str | Path | None = None) -> None:
    """Raises `ConfigError` unless the names end in ``.mp4`` or ``.gif``, and in ``.png``."""
    check_suffix(video)
    if sheet is not None and Path(sheet).suffix != ".png":
        raise ConfigError(f"the sheet's name must end in .png, found {str(sheet)!r}")


def _dreams(
    who: Seat, env: Any, c: RecordConfig, sheet: str | Path | None
) -> Generator[Picture, None, None]:
    """Yields the frames of one episode after the other, and saves the first one's sheet."""
    for k in range(c.episodes):
        played = _collect(who, env, evaluation_seed(c.seed, k), c.steps, c.first_step)
        recording = observe(who.agent.world_model, played, who.agent.config.task, c.mark)
        if k == 0 and sheet is not None:
            contact_sheet(recording, sheet)
        for t in range(len(recording.observations)):
            yield compose_frame(recording, t, c.scale)


def _episodes(
    c: RecordConfig, sheet: str | Path | None, frames_of: Any
) -> Generator[Picture, None, None]:
    """Yields the frames of one episode after the other, and saves one of the first."""
    for k in range(c.episodes):
        shown = iter(frames_of(evaluation_seed(c.seed, k)))
        if k == 0 and sheet is not None:
            frame = None
            for frame in islice(shown, c.steps * 3 // 4):
                yield frame
            _save(frame, sheet)
        yield from shown


def _save(frame: Picture | None, sheet: str | Path) -> None:
    path = Path(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, optimize=True)


def _collect(who: Seat, env: Any, seed: int, steps: int, first_step: int) -> Played:
    rows = list(_play(who, env, seed, first_step + steps))
    if len(rows) < first_step + 3:
        left = max(0, len(rows) - first_step)
        raise ConfigError(
            f"first_step {first_step} leaves {left} steps of the episode; at least 3 are needed"
        )
    observations, actions, rewards = zip(*rows[first_step:], strict=True)
    return Played(
        np.stack(observations),
        np.stack(actions).astype(np.float32),
        np.asarray(rewards, np.float64),
        first_step,
        frame_rate(env),
        float(sum(reward for *_, reward in rows[:first_step])),
    )


def _play(who: Seat, env: Any, seed: int, most: int) -> Iterator[tuple[Any, Any, float]]:
    """Yields observation, action and reward per row until the episode or ``most`` rows end."""
    observation, _ = env.reset(seed=seed)
    memory, reward, done, player = None, 0.0, False, who.player
    for step in range(most):
        pixels, vector = parts(observation)
        if done or step == most - 1:
            yield pixels, np.zeros(env.action_space.shape, np.float32), reward
            return
        action, memory = player.act(Seen(pixels, vector), memory, Turn(0, seed, step))
        action = checked(action, env.action_space.shape[0], player.label)
        yield pixels, action, reward
        observation, reward, terminated, truncated, _ = env.step(action)
        reward, done = float(reward), bool(terminated or truncated)


def _pixels(images: Float[Tensor, "T C H W"]) -> UInt8[np.ndarray, "T H W 3"]:
    scaled = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return rgb(scaled.permute(0, 2, 3, 1).cpu().numpy())


def _array(values: Tensor) -> Float[np.ndarray, "..."]:
    return values.double().cpu().numpy()
