"""Families of control through a world model's slots."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from aime_agent.envs.meta_dmc import MetaTasks
from aime_agent.meta.families import BeliefFamily
from aime_agent.policies.task_query import SlotMetaPolicy
from aime_agent.world_model.frozen import freeze
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset


@pytest.mark.render
def test_a_policy_over_slots_is_meta_trained_on_hidden_goals(make_trainer):
    torch.manual_seed(0)
    world = freeze(AimeWorldModel(preset("tiny", image_size=32, action_dim=2)))
    pixels = MetaTasks("point_mass-goal", observation="pixels", image_size=32, max_steps=3)
    family = BeliefFamily(pixels, world)
    env = family.make_env()
    policy = SlotMetaPolicy(env.observation_space, env.action_space, 8, 2)
    env.close()
    trainer = make_trainer(family, policy, tasks_per_batch=1, support_episodes=2)
    before = policy.attention.to_key.weight.clone()
    numbers = trainer.meta_train_step()
    assert numbers["meta/gradient_norm"] > 0
    assert not torch.equal(before, policy.attention.to_key.weight)
    assert 0.0 <= numbers["meta/reward_before"] <= 3.0


def test_states_of_control_are_meta_trained(make_trainer):
    trainer = make_trainer(MetaTasks("pendulum-dynamics", max_steps=3), max_episode_steps=3)
    first = trainer.play(trainer.family.tasks[0]).rollouts[0]
    assert first.observations.shape[-1] == spaces.flatdim(
        trainer.family.make_env().observation_space
    )
    assert np.isfinite(trainer.meta_train_step()["meta_loss"])
