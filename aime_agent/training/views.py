"""What a film shows of one moment, made step by step: nothing keeps an episode in memory.

    watch      an environment, played; a model filters its frames and says where it looks
    dream      the same up to a mark; from there on the model alone, no environment left
    branches   an environment beside several futures that the model dreams from one moment on

Who plays is a `Player`: an agent, a planner, an SB3 policy, random or zero actions.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from aime_agent.agents.randomness import seeded
from aime_agent.errors import ConfigError
from aime_agent.training.players import Player, Seen, Turn, checked
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.state import Belief, WorldState, map_tree


class View(NamedTuple):
    """One moment, and what the model makes of it."""

    step: int
    """Agent step within the episode."""
    picture: UInt8[np.ndarray, "H W 3"]
    attention: Float[np.ndarray, "R R"]
    slot_maps: Float[np.ndarray, "S R R"]
    """Each slot's map, with mass one over space."""
    slot_mass: Float[np.ndarray, " S"]
    slot_centers: Float[np.ndarray, "S 2"]
    reward: float
    """That came with the picture; the model's expectation in a dream."""
    total: float
    """Return so far, from the episode's first step."""
    dreamt: bool = False


class Branches(NamedTuple):
    """One real moment, and what became of it in several dreams."""

    real: View
    since: float
    """Real return since the dreams began."""
    pictures: UInt8[np.ndarray, "N H W 3"] | None
    """None before they begin."""
    totals: Float[np.ndarray, " N"]
    """Dreamt return of each."""


class Watched(NamedTuple):
    """A moment of an episode in play."""

    view: View
    belief: Belief
    action: Float[np.ndarray, " A"] | None
    """What is done now; None at the episode's end."""
    memory: Any
    """The player's own."""


def watch(
    model: Any,
    env: gym.Env[Any, Any],
    player: Player,
    seed: int,
    steps: int,
    first_step: int = 0,
) -> Iterator[View]:
    """Plays and yields ``steps`` views from ``first_step`` on, fewer where the episode ends.

    Args:
        model: The `AimeWorldModel` that looks on.
        env: Shows pixels, or a dictionary of ``pixels`` and ``state``; the caller closes it.
        player: Who acts.
        seed: Of the episode.
        steps: Views wanted.
        first_step: Agent steps played before the first view.
    """
    for moment in _play(model, env, player, seed, first_step + steps):
        if moment.view.step >= first_step:
            yield moment.view


def dream(  # noqa: PLR0913 (watch's arguments, and the mark)
    model: Any,
    env: gym.Env[Any, Any],
    player: Player,
    seed: int,
    steps: int,
    mark: int,
    actor: Callable[[Tensor], Tensor] | None = None,
    temperature: float = 1.0,
) -> Iterator[View]:
    """Yields ``mark`` real views, then dreamt ones: the model makes the frames, nothing is simulated.

    Args:
        model: The `AimeWorldModel` that dreams.
        env: Where the start comes from; not touched after it.
        player: Who acts at the start, and in the dream where there is no ``actor``: it is shown the
            dreamt frames.
        seed: Of the episode and of the dream.
        steps: Views in all.
        mark: Real ones.
        actor: Features ``[1, h+z]`` to actions ``[1, A]``, who acts in the dream.
        temperature: Of the mixture prior; 0 is the mean of its heaviest component.

    Raises:
        ConfigError: the episode ends before the mark.
        DataError: the player needs more than frames.
    """
    last = None
    for last in _play(model, env, player, seed, mark):
        yield last.view
    if last is None or last.action is None or last.view.step < mark - 1:
        raise ConfigError(
            f"mark: an episode of more than {mark} steps required, found its end before"
        )
    belief, action, memory, total = last.belief, last.action, last.memory, last.view.total
    for step in range(mark, steps):
        belief = _imagined(model, belief, _tensor(action, belief)[None], seed, step, temperature)
        reward = float(_rewards(model, belief)[0])
        total += reward
        view = _view(model, belief, step, _decoded(model, belief)[0], reward, total, dreamt=True)
        yield view
        if actor is None:
            action, memory = player.act(Seen(view.picture, None), memory, Turn(0, seed, step))
        else:
            with torch.no_grad():
                action = actor(belief.features)[0].clamp(-1, 1).cpu().numpy()


def branches(  # noqa: PLR0913 (watch's arguments, and those of the dreams)
    model: Any,
    env: gym.Env[Any, Any],
    player: Player,
    seed: int,
    steps: int,
    mark: int,
    samples: int,
    temperature: float = 1.0,
) -> Iterator[Branches]:
    """Plays, and from ``mark`` on dreams ``samples`` futures of the same actions beside it.

    Args:
        model: The `AimeWorldModel` that dreams; it sees no frame from the mark on.
        env: What really happens.
        player: Who acts.
        seed: Of the episode and of the dreams.
        steps: Moments in all.
        mark: The first moment that the dreams do not see.
        samples: How many futures.
        temperature: Of the mixture prior.
    """
    dreams: Belief | None = None
    totals, since, before = np.zeros(samples), 0.0, None
    for moment in _play(model, env, player, seed, steps):
        pictures = None
        if moment.view.step >= mark and before is not None:
            start = map_tree(lambda x: x.repeat_interleave(samples, 0), before.belief)
            start, action = dreams or start, _tensor(before.action, start).expand(samples, -1)
            dreams = _imagined(model, start, action, seed, moment.view.step, temperature)
            totals = totals + _rewards(model, dreams)
            since += moment.view.reward
            pictures = _decoded(model, dreams)
        yield Branches(moment.view, since, pictures, totals)
        before = moment


def _play(
    model: Any, env: gym.Env[Any, Any], player: Player, seed: int, most: int
) -> Iterator[Watched]:
    """Plays until the episode or ``most`` moments end."""
    stream = BeliefFilter(model)
    observation, _ = env.reset(seed=seed)
    state, memory, reward, total, done = stream.initial_state(1), None, 0.0, 0.0, False
    for step in range(most):
        pixels, vector = parts(observation)
        belief = stream.observe(
            stream.frames(pixels)[None], state, np.array([step == 0]), False, True
        )
        total += reward
        view = _view(model, belief, step, pixels, reward, total)
        if done:
            yield Watched(view, belief, None, memory)
            return
        action, memory = player.act(Seen(pixels, vector), memory, Turn(0, seed, step))
        action = checked(action, model.config.action_dim, player.label)
        yield Watched(view, belief, action, memory)
        if step == most - 1:
            return
        state = stream.advance(belief, action[None])
        observation, gained, terminated, truncated, _ = env.step(action)
        reward, done = float(gained), bool(terminated or truncated)


def parts(observation: Any) -> tuple[UInt8[np.ndarray, "H W C"], np.ndarray | None]:
    """Splits an observation into pixels and state vector."""
    if isinstance(observation, dict):
        return observation["pixels"], observation.get("state")
    return observation, None


@torch.no_grad()
def _imagined(
    model: Any, belief: Belief, action: Tensor, seed: int, step: int, temperature: float
) -> Belief:
    """The next dreamt belief; its noise depends on seed and step alone."""
    state: WorldState = model.advance(belief, action)
    with seeded(seed, "film", step, state.hidden.device):
        after: Belief = model.imagine(state, temperature)
    return after


@torch.no_grad()
def _rewards(model: Any, belief: Belief) -> Float[np.ndarray, " N"]:
    return np.asarray(model.reward(belief).double().cpu().numpy())


@torch.no_grad()
def _decoded(model: Any, belief: Belief) -> UInt8[np.ndarray, "N H W 3"]:
    frames = model.decode(belief).clamp(0, 1).mul(255).round().to(torch.uint8)
    return rgb(frames.permute(0, 2, 3, 1).cpu().numpy())


@torch.no_grad()
def _view(
    model: Any,
    belief: Belief,
    step: int,
    picture: UInt8[np.ndarray, "H W C"],
    reward: float,
    total: float,
    *,
    dreamt: bool = False,
) -> View:
    seen = model.attend(belief)
    maps, mass, centers = (
        x[0].double().cpu().numpy() for x in (seen.slot_maps, seen.mass, seen.centers)
    )
    attention = even_where_none(seen.map.double().cpu().numpy(), maps.shape[-1])[0]
    return View(step, rgb(picture), attention, maps, mass, centers, reward, total, dreamt)


def even_where_none(maps: Float[np.ndarray, "T r r"], side: int) -> Float[np.ndarray, "T R R"]:
    """The maps as they are; even ones of a model that has none."""
    return maps if maps.size else np.full((len(maps), side, side), 1.0 / side**2)


def rgb(images: UInt8[np.ndarray, "*T H W C"]) -> UInt8[np.ndarray, "*T H W 3"]:
    """Returns three channels."""
    return images if images.shape[-1] == 3 else np.repeat(images[..., :1], 3, -1)


def _tensor(action: Any, like: Belief) -> Tensor:
    return torch.as_tensor(np.asarray(action)).to(like.z)
