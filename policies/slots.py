"""Policies over slots for PPO, SAC and TD3; each takes all keywords of SB3's own.

| policy | algorithm | sees |
|---|---|---|
| `SlotActorCriticPolicy` | PPO, A2C | belief and slots; or stacked frames, with ``world=freeze(...)`` |
| `SlotSACPolicy`, `SlotTD3Policy` | SAC, TD3 | belief and slots; critics with a value per slot |

RecurrentPPO and others take `SlotExtractor` through ``policy_kwargs`` in their ``MultiInput`` policies.
"""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.policies.extractors import SlotExtractor
from aime_agent.policies.perception import PerceptionExtractor
from aime_agent.policies.selection import SlotCritic, proposal_noise, select_action
from aime_agent.world_model.frozen import WorldRef


class SlotActorCriticPolicy(ActorCriticPolicy):  # type: ignore[misc]
    """Actor and critic on belief and pooled slots.

    Args:
        observation_space: A dictionary of belief and slots, or stacked frames.
        action_space: Any that PPO takes.
        lr_schedule: SB3's.
        world: For stacked frames, the world model that perceives them.
        finetune: Whether gradients change (a copy of) that model.
        features_extractor_class: Another extractor than the one the observations ask for.
        features_extractor_kwargs: Its settings, such as ``num_slots``.
        **settings: Of SB3's `ActorCriticPolicy`.

    Raises:
        ConfigError: frames without a world, or the other way round.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        world: WorldRef | None = None,
        finetune: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        frames = not isinstance(observation_space, spaces.Dict)
        if frames != (world is not None):
            raise ConfigError(
                "SlotActorCriticPolicy: a dictionary of belief and slots, or stacked frames and "
                f"world=freeze(...), required, found {observation_space} and world={world}"
            )
        kwargs = dict(features_extractor_kwargs or {})
        if frames:
            kwargs |= {"world": world, "finetune": finetune}
        extractor = PerceptionExtractor if frames else SlotExtractor
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class or extractor,
            features_extractor_kwargs=kwargs,
            **settings,
        )


class SlotSACPolicy(SACPolicy):  # type: ignore[misc]
    """SAC's policy on belief and slots, with critics that have a value per slot.

    Args:
        observation_space: A dictionary of belief and slots.
        action_space: Continuous.
        lr_schedule: SB3's.
        proposals: P, actions to choose from in a deterministic prediction; 0 takes the actor's mean.
        **settings: Of SB3's `SACPolicy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        proposals: int = 0,
        **settings: Any,
    ) -> None:
        self.proposals = _checked(proposals, settings)
        super().__init__(observation_space, action_space, lr_schedule, **_with_slots(settings))

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> SlotCritic:
        """Builds critics with a value per slot."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return SlotCritic(**kwargs).to(self.device)

    def _predict(
        self, observation: dict[str, Tensor], deterministic: bool = False
    ) -> Float[Tensor, "N A"]:
        """The actor's action, or the best of its proposals."""
        if not (self.proposals and deterministic):
            return self.actor(observation, deterministic)
        mean, log_std, _ = self.actor.get_action_dist_params(observation)
        noise = proposal_noise(self.proposals, mean.shape[-1]).to(mean)
        proposals = torch.tanh(mean[:, None] + log_std.exp()[:, None] * noise)
        return select_action(self.critic, observation, proposals)


class SlotTD3Policy(TD3Policy):  # type: ignore[misc]
    """TD3's policy on belief and slots, with critics that have a value per slot.

    Args:
        observation_space: A dictionary of belief and slots.
        action_space: Continuous.
        lr_schedule: SB3's.
        proposals: P, actions to choose from in a deterministic prediction; 0 takes the actor's.
        proposal_std: Standard deviation of the proposals around the actor's action.
        **settings: Of SB3's `TD3Policy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        proposals: int = 0,
        proposal_std: float = 0.2,
        **settings: Any,
    ) -> None:
        self.proposals, self.proposal_std = _checked(proposals, settings), proposal_std
        super().__init__(observation_space, action_space, lr_schedule, **_with_slots(settings))

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> SlotCritic:
        """Builds critics with a value per slot."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return SlotCritic(**kwargs).to(self.device)

    def _predict(
        self, observation: dict[str, Tensor], deterministic: bool = False
    ) -> Float[Tensor, "N A"]:
        """The actor's action, or the best of those around it."""
        action = self.actor(observation)
        if not (self.proposals and deterministic):
            return action
        noise = self.proposal_std * proposal_noise(self.proposals, action.shape[-1]).to(action)
        return select_action(self.critic, observation, (action[:, None] + noise).clamp(-1.0, 1.0))


def _with_slots(settings: dict[str, Any]) -> dict[str, Any]:
    return {"features_extractor_class": SlotExtractor, **settings}


def _checked(proposals: int, settings: dict[str, Any]) -> int:
    """Refuses what cannot be selected from.

    Raises:
        ConfigError: a negative number, or noise that depends on the state (gSDE).
    """
    if proposals < 0 or (proposals and settings.get("use_sde")):
        raise ConfigError(
            f"proposals must be at least 0, and 0 with use_sde, found {proposals} and "
            f"use_sde={settings.get('use_sde', False)}"
        )
    return proposals
