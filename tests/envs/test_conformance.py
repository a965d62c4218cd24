"""Gymnasium's and Stable-Baselines3's checkers, on one task of every domain."""

import warnings

import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from aime_agent.envs.make import make_env
from aime_agent.envs.suite import SUITE_TASKS

# The suite documents no bounds of its states; inventing some would clip what an agent sees.
ALLOWED = (
    "A Box observation space minimum value is -infinity",
    "A Box observation space maximum value is infinity",
)
TASK_OF = {domain: f"{domain}-{task}" for domain, task in reversed(SUITE_TASKS)}
CASES = [(task, mode) for task in TASK_OF.values() for mode in ("state", "both")]
CASES += [("humanoid-walk", "pixels"), ("cartpole-swingup", "pixels")]


@pytest.mark.render
@pytest.mark.parametrize(("task", "observation"), CASES)
def test_checkers_find_nothing(task, observation):
    env = make_env(task, observation=observation, image_size=40, render_quality="minimal")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
        check_for_sb3(env)
    env.close()
    found = [str(warning.message) for warning in caught]
    assert [text for text in found if not any(allowed in text for allowed in ALLOWED)] == []
