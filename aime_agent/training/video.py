"""Films of a model at work: one episode played, replayed through the model, and dreamed.

    o_1 .. o_{M-1}   real frames, shown to the model
    o^_M .. o^_T     open-loop prediction from them and the actions a_{M-1} .. a_{T-1} alone

`collect` plays, `observe` runs the model, `compose_frame` draws, `record` streams frames into an
mp4 file. The dream panel cannot cheat: `observe` hands `predict_future` no row from the mark on.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from aime_agent.configs import override
from aime_agent.errors import ConfigError, MissingDependencyError
from aime_agent.training.evaluate import evaluation_seed
from aime_agent.training.panels import (
    BACKGROUND,
    DREAMED,
    INK,
    Picture,
    Recording,
    attention_panel,
    compose_frame,
    font,
    picture_panel,
    slots_panel,
)

MOST_STEPS = 200
_SLOWEST, _FASTEST = 15, 30


class Played(NamedTuple):
    """A stretch of an episode; row t holds o_t, the reward that came with it, and a_t after it."""

    observations: UInt8[np.ndarray, "T H W C"]
    actions: Float[np.ndarray, "T A"]
    """Zeros in the last row, whose action was never played."""
    rewards: Float[np.ndarray, " T"]
    first_step: int
    fps: float


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What a film shows; steps are agent steps."""

    episodes: int = 1
    """How many episodes, one after the other."""
    steps: int = MOST_STEPS
    """Steps shown per episode, 3 to 200."""
    mark: int | None = None
    """Step of the window from which the dream panel runs alone; None is a quarter in."""
    scale: int = 5
    """Panel pixels per image pixel."""
    seed: int = 0
    """Chooses the episodes."""
    first_step: int = 0
    """Step of the episode at which the window starts."""

    def __post_init__(self) -> None:
        _require("episodes", self.episodes, 1, None)
        _require("steps", self.steps, 3, MOST_STEPS)
        _require("scale", self.scale, 1, 16)
        _require("seed", self.seed, 0, None)
        _require("first_step", self.first_step, 0, None)
        if self.mark is not None:
            _require("mark", self.mark, 1, self.steps - 1)


def record(
    agent: Any,
    path: str | Path,
    config: RecordConfig | None = None,
    sheet: str | Path | None = None,
    **overrides: Any,
) -> Path:
    """Plays episodes with ``agent`` and writes the film; returns its path.

    Args:
        agent: An `AimeAgent`, or anything with its ``make_env``, ``predict``, ``world_model`` and
            ``config.task``.
        path: The ``.mp4`` file; written beside and moved into place when complete.
        config: What to show.
        sheet: A ``.png`` file for the contact sheet of the first episode, if wanted.
        **overrides: Fields of `RecordConfig`.
    """
    c, path = override(config or RecordConfig(), **overrides), Path(path)
    check_files(path, sheet)
    windows = _observed(agent, c)
    fps, first = next(windows)
    if sheet is not None:
        contact_sheet(first, sheet)
    frames = (
        compose_frame(r, t, c.scale)
        for r in chain([first], (recording for _, recording in windows))
        for t in range(len(r.observations))
    )
    write_video(path, frames, fps)
    return path


def collect(agent: Any, seed: int, steps: int = MOST_STEPS, first_step: int = 0) -> Played:
    """Plays one episode from ``seed`` and returns ``steps`` rows of it, from ``first_step`` on."""
    env = agent.make_env()
    try:
        fps = float(env.metadata.get("render_fps") or _FASTEST)
        rows = list(_play(agent, env, seed, first_step + steps))[first_step:]
    finally:
        env.close()
    if len(rows) < 3:
        raise ConfigError(
            f"first_step {first_step} leaves {len(rows)} steps of the episode; at least 3 are needed"
        )
    observations, actions, rewards = zip(*rows, strict=True)
    return Played(
        np.stack(observations),
        np.stack(actions).astype(np.float32),
        np.asarray(rewards, np.float64),
        first_step,
        fps,
    )


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
        observations=_rgb(played.observations),
        reconstructions=_pixels(seen.reconstructions[0]),
        dream=_pixels(dreamed.observations[0]),
        attention=_maps(_array(seen.attention_maps[0]), seen.slot_attention_maps.shape[-1]),
        slot_maps=_array(seen.slot_attention_maps[0]),
        slot_centers=_array(seen.slot_centers[0]),
        slot_mass=_array(seen.slot_mass[0]),
        rewards=played.rewards,
        predicted_rewards=_array(seen.predicted_rewards[0]),
        dreamed_rewards=_array(dreamed.rewards[0]),
    )


def _maps(maps: Float[np.ndarray, "T R R"], side: int) -> Float[np.ndarray, "..."]:
    """The maps as they are; even ones of a model that has none."""
    if maps.size:
        return maps
    return np.full((len(maps), side, side), 1.0 / side**2, np.float32)


def write_video(path: Path, frames: Iterator[Picture], fps: float) -> None:
    """Streams frames into an H.264 file at 15 to 30 frames per second; all or nothing."""
    try:
        import imageio.v2
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            f"videos need ffmpeg ({error}): pip install imageio imageio-ffmpeg"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part.mp4")
    rate = min(max(fps, _SLOWEST), _FASTEST)
    try:
        writer: Any = imageio.v2.get_writer(part, fps=rate, codec="libx264", quality=8)
        with closing(writer):  # the writer's own context does not close after an error
            for frame in frames:
                writer.append_data(frame)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def contact_sheet(
    recording: Recording, path: str | Path, rows: Sequence[int] | None = None, scale: int = 3
) -> Path:
    """Saves a PNG with one column per chosen row of the recording and one line per panel.

    Args:
        recording: What `observe` returned.
        path: The ``.png`` file.
        rows: Rows to show; None picks two before the mark and five from it on.
        scale: Panel pixels per image pixel.
    """
    r, path = recording, Path(path)
    length = len(r.observations)
    if rows is None:
        later = np.linspace(r.mark, length - 1, 5).round().astype(int)
        rows = sorted({r.mark // 2, r.mark - 1, *(int(t) for t in later)})
    side = scale * max(r.observations.shape[1:3])
    label, margin, gap = max(16, side // 9), side * 3 // 4, max(2, side // 32)
    names = ("real", "recon-\nstruction", "dream", "attention", "slots")
    size = (margin + len(rows) * (side + gap), 3 * label + len(names) * (side + gap))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for j, name in enumerate(names):
        y = 3 * label + j * (side + gap) + side // 2
        draw.text((label // 2, y), name, INK, font(label * 3 // 4), anchor="lm")
    for i, t in enumerate(rows):
        x = margin + i * (side + gap)
        colour = DREAMED if t >= r.mark else INK
        draw.text(
            (x, 2 * label), f"step {r.first_step + t}", colour, font(label * 3 // 4), anchor="lm"
        )
        for j, panel in enumerate(_column(r, t, side)):
            sheet.paste(panel, (x, 3 * label + j * (side + gap)))
    shown = sum(t < r.mark for t in rows)
    x = margin + shown * (side + gap) - gap
    draw.rectangle((x, 0, x + gap - 1, size[1]), DREAMED)
    if shown < len(rows):
        text = "dream from here: actions only"
        draw.text((x + 2 * gap, label), text, DREAMED, font(label * 3 // 4), anchor="lm")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _column(r: Recording, t: int, side: int) -> list[Image.Image]:
    blank = Image.new("RGB", (side, side), (36, 39, 46))
    return [
        picture_panel(r.observations[t], side),
        picture_panel(r.reconstructions[t], side),
        picture_panel(r.dream[t - r.mark], side) if t >= r.mark else blank,
        attention_panel(r, t, side),
        slots_panel(r, t, side),
    ]


def check_files(video: str | Path, sheet: str | Path | None = None) -> None:
    """Raises `ConfigError` unless the names end in ``.mp4`` and ``.png``."""
    for path, suffix in ((video, ".mp4"), (sheet, ".png")):
        if path is not None and Path(path).suffix != suffix:
            raise ConfigError(f"the file's name must end in {suffix}, found {str(path)!r}")


def _require(name: str, value: int, low: int, high: int | None) -> None:
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ConfigError(f"RecordConfig.{name} must be {wanted}, found {value}")


def _play(agent: Any, env: Any, seed: int, most: int) -> Iterator[tuple[Any, Any, float]]:
    """Yields observation, action and reward per row until the episode or ``most`` rows end."""
    observation, _ = env.reset(seed=seed)
    state, reward, done = None, 0.0, False
    for row in range(most):
        pixels = observation["pixels"] if isinstance(observation, dict) else observation
        if done or row == most - 1:
            yield pixels, np.zeros(env.action_space.shape, np.float32), reward
            return
        start = np.array([row == 0])
        action, state = agent.predict(observation, state, start, deterministic=True)
        yield pixels, np.asarray(action), reward
        observation, reward, terminated, truncated, _ = env.step(action)
        done = bool(terminated or truncated)


def _observed(agent: Any, c: RecordConfig) -> Iterator[tuple[float, Recording]]:
    """Yields the frame rate and the recording of one episode after the other."""
    for k in range(c.episodes):
        played = collect(agent, evaluation_seed(c.seed, k), c.steps, c.first_step)
        yield played.fps, observe(agent.world_model, played, agent.config.task, c.mark)


def _rgb(images: UInt8[np.ndarray, "T H W C"]) -> UInt8[np.ndarray, "T H W 3"]:
    return images if images.shape[-1] == 3 else np.repeat(images[..., :1], 3, -1)


def _pixels(images: Float[Tensor, "T C H W"]) -> UInt8[np.ndarray, "T H W 3"]:
    scaled = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return _rgb(scaled.permute(0, 2, 3, 1).cpu().numpy())


def _array(values: Tensor) -> Float[np.ndarray, "..."]:
    return values.double().cpu().numpy()
