"""Who plays before the camera, and the streams of frames that the layouts make of it."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from aime_agent.agents.aime import AimeAgent
from aime_agent.errors import ConfigError
from aime_agent.training.frames import Show, compare_frame, futures_frame, overlay_frame
from aime_agent.training.panels import Picture, attention_top
from aime_agent.training.players import Player, predict_player, random_player, zero_player
from aime_agent.training.record_config import RecordConfig
from aime_agent.training.views import View, branches, dream, watch

_FASTEST = 30.0
_AHEAD = 24
"""Views looked at before the first frame is drawn: they decide the scale of attention."""


class Seat(NamedTuple):
    """Who plays, and whose world model looks on."""

    agent: Any
    """An `AimeAgent`: its environment and its world model."""
    player: Player

    def open(self) -> gym.Env[Any, Any]:
        """Makes the environment, with the state vector if the player needs it."""
        changes = {"observation": "both"} if self.player.needs_state else {}
        env: gym.Env[Any, Any] = self.agent.make_env(**changes)
        return env


def seat(agent: Any, policy: Any = None, seed: int = 0, label: str | None = None) -> Seat:
    """Returns who plays in an agent's environment.

    Args:
        agent: An `AimeAgent`.
        policy: ``random``, ``zero``, or anything with Stable-Baselines3's ``predict``; None for the
            agent itself. Another `AimeAgent` plays in its own environment, and its own model looks on.
        seed: Of random actions.
        label: Name in the film.
    """
    if isinstance(policy, AimeAgent):
        agent, policy = policy, None
    width = agent.world_model.config.action_dim
    if policy == "random":
        player = random_player(width, seed)._replace(label=label or "random actions")
    elif policy == "zero":
        player = zero_player(width)._replace(label=label or "zero actions")
    elif policy is None:
        player = predict_player(agent, label or "trained agent", seed)
    else:
        player = predict_player(policy, label or type(policy).__name__, seed)
    return Seat(agent, player)


def frame_rate(env: gym.Env[Any, Any]) -> float:
    """Returns the agent steps per second of the simulation."""
    return float(env.metadata.get("render_fps") or _FASTEST)


def overlay(who: Seat, env: gym.Env[Any, Any], c: RecordConfig, seed: int) -> Iterator[Picture]:
    """Yields attention and slots over an episode, or over a dream that begins with it."""
    model, mark = who.agent.world_model, c.begins(c.steps)
    shown: Iterator[View]
    if c.inside_dream:
        last = c.first_step + c.steps
        start, actor = c.first_step + mark, _actor(who)
        every = dream(model, env, who.player, seed, last, start, actor, c.temperature)
        shown = (v for v in every if v.step >= c.first_step)
    else:
        shown = watch(model, env, who.player, seed, c.steps, c.first_step)
    hottest, views = _scaled(iter(shown))
    show = _show(who, env, c, hottest, mark if c.inside_dream else None)
    rewards = []
    for view in views:
        rewards.append(view.reward)
        yield overlay_frame(show, view, rewards)


def futures(who: Seat, env: gym.Env[Any, Any], c: RecordConfig, seed: int) -> Iterator[Picture]:
    """Yields an episode beside futures that the model dreams of it."""
    mark, last = c.begins(c.steps), c.first_step + c.steps
    show = _show(who, env, c, 1.0, mark)
    start, model = c.first_step + mark, who.agent.world_model
    moments = branches(model, env, who.player, seed, last, start, c.samples, c.temperature)
    for moment in moments:
        if moment.real.step >= c.first_step:
            yield futures_frame(show, moment)


def comparison(
    pair: tuple[Seat, Seat],
    envs: tuple[gym.Env[Any, Any], gym.Env[Any, Any]],
    c: RecordConfig,
    seed: int,
) -> Iterator[Picture]:
    """Yields two players in the same episode; who ends first stands still.

    Raises:
        ConfigError: they play different tasks, or act at different rates.
    """
    check_pair(pair)
    scales, streams = [], []
    for who, env in zip(pair, envs, strict=True):
        model = who.agent.world_model
        hottest, views = _scaled(watch(model, env, who.player, seed, c.steps, c.first_step))
        scales.append(hottest)
        streams.append(views)
    a, b = (_show(w, e, c, h, None) for w, e, h in zip(pair, envs, scales, strict=True))
    totals: tuple[list[float], list[float]] = ([], [])
    now: list[View | None] = [None, None]
    while True:
        later = [next(stream, None) for stream in streams]
        if later == [None, None]:
            return
        now = [new if new is not None else old for new, old in zip(later, now, strict=True)]
        left, right = now
        if left is None or right is None:
            raise ConfigError("first_step: an episode that lasts longer required, found its end")
        for line, new in zip(totals, later, strict=True):
            if new is not None:
                line.append(new.total)
        yield compare_frame((a, b), (left, right), totals)


def check_pair(pair: tuple[Seat, Seat]) -> None:
    """Raises `ConfigError` unless two players play one task at one rate."""
    for name in ("task", "action_repeat"):
        left, right = (getattr(who.agent.config, name) for who in pair)
        if left != right:
            raise ConfigError(
                f"compare: one {name} for both required, found {left!r} and {right!r}"
            )


def _scaled(views: Iterator[View]) -> tuple[float, Iterator[View]]:
    """Looks some views ahead; returns the hot end of attention in them, and all views."""
    head = list(islice(views, _AHEAD))
    if not head:
        raise ConfigError("first_step: an episode that lasts longer required, found its end")
    maps = np.stack([view.attention for view in head])
    return attention_top(maps) * maps.shape[-1] ** 2, chain(head, views)


def _show(
    who: Seat, env: gym.Env[Any, Any], c: RecordConfig, hottest: float, mark: int | None
) -> Show:
    task, label, rate = who.agent.config.task, who.player.label, frame_rate(env)
    return Show(task, label, rate, c.first_step, c.steps, mark, hottest, c.scale)


def _actor(who: Seat) -> Any:
    """Returns the agent's own actor, which needs no frames; None where somebody else plays."""
    if who.player.label != "trained agent" or not hasattr(who.agent, "behaviour"):
        return None
    actor = who.agent.behaviour.actor

    def act(features: Tensor) -> Tensor:
        mean: Tensor = actor(features).mean
        return mean

    return torch.no_grad()(act)
