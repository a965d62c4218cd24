"""The parts of a run and how they are made: agent, environments, evaluation."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from gymnasium.vector import AutoresetMode

from aime_agent.training.collector import Lane, VectorLane
from aime_agent.training.config import TrainConfig
from aime_agent.training.interrupts import deaf_children
from aime_agent.training.trainer import Agent

Evaluation = Callable[[Any], Mapping[str, float]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Factories:
    """How the parts of a run are made; tests and examples replace them."""

    agent: Callable[[TrainConfig, int], Agent] | None = None
    """(config, action size) → agent; None for `AimeAgent.create`."""
    lane: Callable[[TrainConfig, int], Lane] | None = None
    """(config, environment's number) → environment; None for the task's, in a process."""
    evaluate: Callable[[TrainConfig], Evaluation | None] | None = None
    """config → evaluation of an agent; None for the returns of ``eval_episodes`` episodes."""


class Parts:
    """Environments, agent and evaluation of a run; a context that ends the environments."""

    def __init__(self, config: TrainConfig, factories: Factories | None = None) -> None:
        factories = factories or Factories()
        make_lane = factories.lane or task_lane
        self.config = config
        self.lanes: list[Lane] = []
        with ExitStack() as stack, deaf_children():
            for i in range(config.num_envs):
                lane = make_lane(config, i)
                stack.callback(lane.close)
                self.lanes.append(lane)
            self.agent = (factories.agent or aime_agent)(config, self.lanes[0].action_dim)
            self._stack = stack.pop_all()
        self.evaluate = (factories.evaluate or default_evaluation)(config)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def task_lane(config: TrainConfig, env: int) -> Lane:
    """Starts the task's environment in a process of its own."""
    _log.debug("starting environment %d of %s", env, config.task)
    return start_lane(
        config.task,
        image_size=config.image_size,
        action_repeat=config.action_repeat,
        camera_id=config.camera_id,
        render_quality=config.render_quality,
    )


def start_lane(
    task: str,
    *,
    image_size: int,
    action_repeat: int,
    camera_id: int | str | None,
    render_quality: str,
    state: bool = False,
) -> VectorLane:
    """Starts an environment with pixels in a process of its own.

    Args:
        task: Suite task or Gymnasium id.
        image_size: Side of the frames.
        action_repeat: Physics frames per action.
        camera_id: Camera of a suite task.
        render_quality: Of a suite task.
        state: Whether a suite task also shows its state vector (`VectorLane.state`).
    """
    from aime_agent.envs.make import environment_id, make_vector

    settings: dict[str, Any] = {"image_size": image_size, "action_repeat": action_repeat}
    if "AIME/" in environment_id(task):
        settings |= {"camera_id": camera_id, "render_quality": render_quality}
        settings |= {"observation": "both"} if state else {}
    mode = AutoresetMode.DISABLED
    return VectorLane(make_vector(task, 1, autoreset_mode=mode, **settings))


def aime_agent(config: TrainConfig, action_dim: int) -> Agent:
    """Makes the package's own agent."""
    from aime_agent.agents.aime import AimeAgent

    return AimeAgent.create(config, action_dim)


def default_evaluation(config: TrainConfig) -> Evaluation | None:
    """Returns a function that plays ``eval_episodes`` episodes in an environment of its own."""
    if config.eval_episodes == 0:
        return None

    def scores(agent: Any) -> Mapping[str, float]:
        from aime_agent.training.evaluate import evaluate

        env = agent.make_env()
        try:
            result = evaluate(agent.predict, env, config.eval_episodes, config.seed)
        finally:
            env.close()
        scores = {"return": result.mean, "episodes": float(config.eval_episodes)}
        if result.ci95 is not None:
            scores["ci95_low"], scores["ci95_high"] = result.ci95
        return scores

    return scores
