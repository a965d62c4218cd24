"""Task queries in Stable-Baselines3, and a meta-policy over slots."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from laws import every_parameter_gets_gradient
from stable_baselines3 import PPO, SAC

import aime_agent  # noqa: F401  (registers ids)
from aime_agent.errors import ConfigError
from aime_agent.policies.task_query import SlotMetaPolicy, TaskQueryExtractor

SMALL = {
    "features_extractor_class": TaskQueryExtractor,
    "features_extractor_kwargs": {"features_dim": 16, "num_heads": 2},
    "net_arch": [8],
}


def test_maskable_ppo_writes_laws_with_it():
    sb3_contrib = pytest.importorskip("sb3_contrib")
    env = gym.make("AIME/SymbolicDiscovery-v0", task="kepler_orbit", data_rows=4)
    model = sb3_contrib.MaskablePPO(
        "MultiInputPolicy", env, n_steps=16, batch_size=8, n_epochs=1, policy_kwargs=SMALL, seed=0
    )
    before = model.policy.features_extractor.attention.to_key.weight.clone()
    model.learn(16)
    assert not torch.equal(before, model.policy.features_extractor.attention.to_key.weight)
    observation, info = env.reset(seed=0)
    action, _ = model.predict(observation, action_masks=env.unwrapped.action_masks())
    assert info["action_mask"][int(action)]


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_ppo_and_sac_on_a_state(algorithm):
    env = gym.make("AIME/Navigation2D-v0")
    few = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {"learning_starts": 4}
    model = algorithm("MlpPolicy", env, policy_kwargs=SMALL, seed=0, **few)
    model.learn(8)
    assert model.predict(env.reset(seed=0)[0])[0].shape == (2,)


def test_what_is_looked_at_is_shown_and_every_part_learns():
    space = spaces.Box(-1, 1, (3,))
    extractor = TaskQueryExtractor(space, 16, 2)
    x = torch.randn(4, 3)
    weights = extractor.attention_weights(x)
    assert weights.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    every_parameter_gets_gradient(extractor, lambda m: m(x))


def test_slots_are_what_a_meta_policy_over_beliefs_looks_at(make_single, world):
    env = make_single("objects")
    policy = SlotMetaPolicy(env.observation_space, env.action_space, 16, 2)
    seen, _ = env.reset(seed=0)
    flat = spaces.flatten(env.observation_space, seen)
    action, info = policy.act(flat, policy.empty_context())
    assert action.shape == env.action_space.shape
    assert info["attention_weights"].shape == (world.config.num_slots,)


def test_other_spaces_are_refused():
    state = spaces.Box(-1, 1, (3,))
    with pytest.raises(ConfigError, match="a Box of actions"):
        SlotMetaPolicy(state, spaces.Discrete(3))
    with pytest.raises(ConfigError, match="must be even"):
        TaskQueryExtractor(state, 15)
