"""The choice among proposals follows the most relevant slot, and is the same every time."""

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC, TD3

from aime_agent.errors import ConfigError
from aime_agent.policies.extractors import BeliefExtractor
from aime_agent.policies.selection import best_proposal, proposal_noise, select_action
from aime_agent.policies.slots import SlotSACPolicy, SlotTD3Policy


def make(env, policy=SlotSACPolicy, algorithm=SAC, **settings):
    kwargs = {"net_arch": [16], **settings}
    return algorithm(
        policy, env, learning_starts=4, buffer_size=50, batch_size=8, policy_kwargs=kwargs
    )


class HandMade:
    """q_k(slot, a) = mass of the slot − (a − centre of the slot)², the second critic 0.1 lower at a < 0."""

    def slot_values(self, obs, actions):
        centers = obs["centers"].unflatten(-1, (-1, 2))[..., 0]
        first = obs["mass"] - (actions - centers).square()
        return torch.stack([first, first - 0.1 * (actions < 0)])


def test_action_goes_to_the_heaviest_reachable_slot():
    obs = {
        "centers": torch.tensor([[-0.5, 0.0, 0.5, 0.0], [-0.5, 0.0, 0.5, 0.0]]),
        "mass": torch.tensor([[0.8, 0.2], [0.4, 0.6]]),
    }
    proposals = torch.linspace(-1, 1, 21)[None, :, None].expand(2, -1, -1)
    picked = select_action(HandMade(), obs, proposals)
    torch.testing.assert_close(picked, torch.tensor([[-0.5], [0.5]]))


def test_the_lower_critic_decides():
    values = torch.tensor([[[[0.9], [0.5]]], [[[0.1], [0.4]]]])  # [K=2, N=1, P=2, S=1]
    assert best_proposal(torch.tensor([[[1.0], [2.0]]]), values).item() == 2.0


def test_first_proposal_is_the_mean_and_the_rest_never_change():
    noise = proposal_noise(5, 2)
    assert (noise[0] == 0).all()
    assert torch.equal(noise, proposal_noise(5, 2))


def test_value_of_an_action_is_the_maximum_over_slots_in_any_order(make_beliefs):
    env = make_beliefs("objects")
    critic = make(env).policy.critic
    obs = {k: torch.from_numpy(v) for k, v in env.reset().items()}
    actions = torch.zeros(2, 2)
    values = critic.slot_values(obs, actions)
    assert values.shape == (2, 2, 3)
    torch.testing.assert_close(critic(obs, actions)[1][:, 0], values[1].amax(-1))
    torch.testing.assert_close(critic.q1_forward(obs, actions)[:, 0], values[0].amax(-1))
    turned = {
        k: v if k == "belief" else v.unflatten(-1, (3, -1))[:, [2, 0, 1]].flatten(1)
        for k, v in obs.items()
    }
    torch.testing.assert_close(critic.slot_values(turned, actions), values[..., [2, 0, 1]])


@pytest.mark.parametrize(("policy", "algorithm"), [(SlotSACPolicy, SAC), (SlotTD3Policy, TD3)])
def test_selection_finds_a_better_action_than_the_mean_by_its_own_critic(
    make_beliefs, policy, algorithm
):
    env = make_beliefs("objects")
    model = make(env, policy, algorithm, proposals=16)
    model.learn(16)
    obs = env.reset()
    chosen, _ = model.predict(obs, deterministic=True)
    again, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(chosen, again)
    model.policy.proposals = 0
    mean, _ = model.predict(obs, deterministic=True)
    seen = {k: torch.from_numpy(v) for k, v in obs.items()}

    def value(actions):
        return torch.stack(model.critic(seen, torch.from_numpy(actions))).amin(0)

    assert (value(chosen) >= value(mean) - 1e-6).all()
    assert (chosen != mean).any()


def test_other_extractors_and_impossible_settings_are_refused(make_beliefs):
    env = make_beliefs("objects")
    with pytest.raises(ConfigError, match="SlotExtractor required, found BeliefExtractor"):
        make(env, features_extractor_class=BeliefExtractor)
    with pytest.raises(ConfigError, match="proposals must be at least 0"):
        make(env, proposals=-1)
