"""A planner that an agent guides: its actor proposes, its critic judges where sequences end."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aime_agent.agents.behaviour import ActionCriticLearner, BehaviourLearner
from aime_agent.configs import override
from aime_agent.planning.config import PlannerConfig
from aime_agent.planning.planner import Guides, Planner
from aime_agent.policies.planner import PlannerPolicy
from aime_agent.world_model.state import Belief

if TYPE_CHECKING:
    from aime_agent.agents.aime import AimeAgent


def make_planner(
    agent: "AimeAgent",
    config: PlannerConfig | None = None,
    seed: int = 0,
    bounds: tuple[Tensor, Tensor] | None = None,
    **changes: Any,
) -> PlannerPolicy:
    """Returns a policy that plans with the agent's world model, actor and critic.

    Args:
        agent: A trained agent.
        config: Settings; the defaults if None.
        seed: Decides the planner's noise.
        bounds: Lowest and highest action ``[A]``, where less than [-1, 1] is allowed.
        **changes: Settings to change.

    Raises:
        ConfigError: a setting is unknown or cannot work.
    """
    settings = override(config or PlannerConfig(), **changes)
    discount = agent.config.agent.discount(agent.config.action_repeat)
    planner = Planner(agent.world_model, guides(agent.behaviour), discount, settings, bounds)
    return PlannerPolicy(agent.world_model, planner, seed)


def guides(behaviour: BehaviourLearner) -> Guides:
    """Actor, critic and the world model's disagreement as a planner asks them."""

    def act(features: Tensor, noise: Tensor) -> Tensor:
        distribution = behaviour.actor(features)
        return torch.addcmul(distribution.mean, distribution.std, noise)

    def value(features: Tensor) -> Tensor:
        if isinstance(behaviour, ActionCriticLearner):
            return behaviour.critic.value(features, behaviour.actor(features).mean)
        return behaviour.critic.value(features)  # type: ignore[operator]

    def disagreement(belief: Belief, action: Tensor) -> Tensor:
        return behaviour.model.disagreement(belief.features, action)

    return Guides(act, value, None if behaviour.model.doubt is None else disagreement)
