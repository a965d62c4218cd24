"""True segmentations: beside the frames, never in them, and by the kinematic tree."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from aime_agent.envs.make import make_env
from aime_agent.envs.segmentation import LEVELS, Parts, Segmented
from aime_agent.errors import ConfigError

TASKS = ("cartpole-swingup", "walker-walk", "cheetah-run", "humanoid-walk")
render = pytest.mark.render


def make(task, level="bodies", **settings):
    return Segmented(make_env(task, render_quality="fast", **settings), level)


def played(env, steps=4):
    """Observations, and infos where there are any."""
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=3)
    frames, infos = [observation.copy()], [info]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, _, _, _, info = env.step(action)
        frames.append(observation.copy())
        infos.append(info)
    env.close()
    return np.stack(frames), infos


@render
@pytest.mark.parametrize("task", TASKS)
def test_frames_are_the_same_with_and_without(task):
    with_it, infos = played(make(task))
    without, _ = played(make_env(task, render_quality="fast"))
    assert np.array_equal(with_it, without)
    assert all(info["segmentation"].shape == with_it.shape[1:3] for info in infos)


@render
@pytest.mark.parametrize("task", TASKS)
def test_it_finds_the_agent_where_the_picture_differs_from_an_empty_one(task):
    """The model without its geometries beyond the world's is the background alone."""
    env = make(task)
    frame, info = env.reset(seed=3)
    frame, labels = frame.astype(int), info["segmentation"]
    model = env.unwrapped.physics.model
    model.geom_rgba[model.geom_bodyid > 0, 3] = 0.0
    empty = env.unwrapped.current_observation().astype(int)
    env.close()
    differs = np.abs(frame - empty).max(-1) > 40
    agent = labels > 0
    assert 0.005 < agent.mean() < 0.2
    assert (differs & agent).sum() > 0.6 * agent.sum()


@render
@pytest.mark.parametrize("quality", ["standard", "fast"])
def test_labels_are_not_blended_at_edges(quality):
    """Every label is that of a body whose picture, four times as large, is nearby."""
    small = Segmented(make_env("walker-walk", render_quality=quality))
    large = Segmented(make_env("walker-walk", render_quality=quality, image_size=256))
    coarse, fine = (env.reset(seed=3)[1]["segmentation"] for env in (small, large))
    assert set(np.unique(coarse)) <= set(range(len(small.parts.names)))
    cells = fine.reshape(64, 4, 64, 4).transpose(0, 2, 1, 3).reshape(64, 64, 16)
    assert (cells == coarse[..., None]).any(-1).mean() > 0.995
    for env in (small, large):
        env.close()


@render
def test_parts_of_the_walker_are_its_bodies_and_limbs():
    env = make("walker-walk")
    _, info = env.reset(seed=3)
    parts, bodies = env.parts, info["segmentation"]
    seen = {parts.names[i] for i in np.unique(bodies)}
    assert {"world", "torso", "right_thigh", "left_foot"} <= seen
    limbs = {parts.names[i] for i in np.unique(parts.labels(bodies, "limbs"))}
    assert limbs == {"world", "torso", "right_thigh", "left_thigh"}
    assert set(np.unique(parts.labels(bodies, "agent"))) == {0, 1}
    env.close()


def test_limbs_by_hand():
    # world 0 - torso 1 - (head 2, thigh 3 - leg 4 - foot 5);  world 0 - target 6
    parts = Parts(names=tuple("abcdefg"), parents=np.array([0, 0, 1, 1, 3, 4, 0], np.int32))
    assert parts.table("limbs").tolist() == [0, 1, 2, 3, 3, 3, 6]
    assert parts.table("agent").tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert parts.labels(np.array([[5, 0], [4, 6]]), "limbs").tolist() == [[3, 0], [3, 6]]
    with pytest.raises(ConfigError, match=r"level must be one of .* found 'arms'"):
        parts.table("arms")


@render
@pytest.mark.parametrize("level", LEVELS)
def test_level_of_the_wrapper_acts(level):
    env, fine = make("cheetah-run", level), make("cheetah-run")
    coarse, bodies = (e.reset(seed=3)[1]["segmentation"] for e in (env, fine))
    assert np.array_equal(coarse, env.parts.labels(bodies, level))
    env.close()
    fine.close()


@render
@pytest.mark.parametrize("task", TASKS)
def test_checker_finds_nothing(task):
    env = make(task, image_size=40)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    env.close()
    found = [str(w.message) for w in caught if "different from the unwrapped" not in str(w.message)]
    assert found == []
    assert env.observation_space == env.unwrapped.observation_space


@render
def test_present_segmentation_follows_a_fast_forward():
    env, other = make("walker-walk"), make("walker-walk")
    env.reset(seed=3)
    action = np.full(6, 0.5, np.float32)
    label = [env.step(action)[4]["segmentation"] for _ in range(3)][-1]
    other.unwrapped.fast_forward(3, [action] * 3)
    assert np.array_equal(other.current_segmentation(), label)
    assert not np.array_equal(env.reset(seed=3)[1]["segmentation"], label)
    env.close()
    other.close()


def test_other_environments_and_levels_are_refused():
    with pytest.raises(ConfigError, match="control suite"):
        Segmented(gymnasium.make("CartPole-v1"))
    env = make_env("walker-walk", observation="state")
    with pytest.raises(ConfigError, match=r"level must be one of .* found 'arms'"):
        Segmented(env, "arms")
    env.close()
