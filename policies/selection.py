"""Acting on the most relevant object: critics with a value per slot, and proposals scored by them.

    Q_k(o, a) = max_s q_k([b; u], token_s, a)          k = 1, 2; learned by SAC's or TD3's own loss
    a*        = argmax_p min_k Q_k(o, a_p)             over P proposals of the actor

The proposals use the same P noise vectors at every step (the first is the actor's own mean), so a
deterministic prediction is deterministic. Policies of PPO have no critic of the action: there this
choice does not exist.
"""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float, Int
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.policies.extractors import SlotExtractor, slot_tokens, token_size


def best_proposal(
    proposals: Float[Tensor, "N P A"], slot_values: Float[Tensor, "K N P S"]
) -> Float[Tensor, "N A"]:
    """Returns the proposal whose value, the maximum over slots, is highest for the doubting critic.

    Args:
        proposals: P actions for each of N observations.
        slot_values: Of K critics; the lowest of them counts.

    >>> proposals = torch.tensor([[[-1.0], [0.0], [1.0]]])
    >>> values = torch.tensor([[[[0.0, 0.1], [0.2, 0.2], [0.9, -5.0]]]])  # slot 0 likes the last
    >>> best_proposal(proposals, values)
    tensor([[1.]])
    """
    best: Int[Tensor, " N"] = slot_values.amax(-1).amin(0).argmax(-1)
    return proposals[torch.arange(len(proposals), device=proposals.device), best]


def proposal_noise(count: int, action_dim: int) -> Float[Tensor, "P A"]:
    """Returns standard normal vectors, the same on every call; the first is zero."""
    noise = torch.randn(count, action_dim, generator=torch.Generator().manual_seed(0))
    noise[0] = 0.0
    return noise


class SlotCritic(ContinuousCritic):  # type: ignore[misc]
    """Critics with a value for every slot; the value of an action is the maximum over slots.

    Args:
        observation_space: As for `SlotExtractor`.
        action_space: Continuous.
        net_arch: Hidden widths.
        features_extractor: A `SlotExtractor`.
        features_dim: Its width.
        **settings: Of SB3's `ContinuousCritic`.

    Raises:
        ConfigError: another extractor, which has no slots.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        **settings: Any,
    ) -> None:
        if not isinstance(features_extractor, SlotExtractor):
            raise ConfigError(
                "SlotCritic: a SlotExtractor required, found "
                f"{type(features_extractor).__name__}, which has no slots"
            )
        width = features_dim + token_size(observation_space, features_extractor.num_slots)
        super().__init__(
            observation_space, action_space, net_arch, features_extractor, width, **settings
        )

    def slot_values(
        self, obs: dict[str, Tensor], actions: Float[Tensor, "N A"]
    ) -> Float[Tensor, "K N S"]:
        """Returns every critic's value of the actions at every slot."""
        learns = not self.share_features_extractor and torch.is_grad_enabled()
        with torch.set_grad_enabled(learns):
            features = self.extract_features(obs, self.features_extractor)
        tokens = slot_tokens(obs, self.features_extractor.num_slots)
        rows = torch.cat([features, actions], dim=-1)[:, None].expand(-1, tokens.shape[1], -1)
        rows = torch.cat([rows, tokens], dim=-1)
        return torch.stack([net(rows).squeeze(-1) for net in self.q_networks])

    def forward(
        self, obs: dict[str, Tensor], actions: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, "N 1"], ...]:
        """Returns every critic's value of the actions."""
        return tuple(self.slot_values(obs, actions).amax(-1, keepdim=True))

    def q1_forward(
        self, obs: dict[str, Tensor], actions: Float[Tensor, "N A"]
    ) -> Float[Tensor, "N 1"]:
        """Returns the first critic's value; TD3's actor climbs it."""
        return self(obs, actions)[0]


def select_action(
    critic: Any, obs: dict[str, Tensor], proposals: Float[Tensor, "N P A"]
) -> Float[Tensor, "N A"]:
    """Returns the best of each observation's proposals.

    Args:
        critic: Has ``slot_values`` like `SlotCritic`.
        obs: N observations.
        proposals: P actions for each.
    """
    count = proposals.shape[1]
    repeated = {key: value.repeat_interleave(count, 0) for key, value in obs.items()}
    values = critic.slot_values(repeated, proposals.flatten(0, 1))
    return best_proposal(proposals, values.unflatten(1, (-1, count)))
