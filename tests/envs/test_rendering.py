"""Render qualities and cameras."""

import numpy as np
import pytest

from aime_agent.envs.make import make_env
from aime_agent.errors import ConfigError

pytestmark = pytest.mark.render


def first_picture(task="walker-walk", **settings):
    env = make_env(task, **settings)
    picture = env.reset(seed=3)[0].copy()
    env.close()
    return picture


@pytest.mark.parametrize("task", ["cartpole-swingup", "walker-walk"])
def test_standard_equals_dm_control_bit_for_bit(task):
    from dm_control import suite

    env = suite.load(*task.split("-"), task_kwargs={"random": 3})
    env.reset()
    assert np.array_equal(first_picture(task), env.physics.render(64, 64, camera_id=0))


def test_fast_is_near_and_minimal_is_not():
    standard = first_picture().astype(float)
    distance = {
        quality: np.abs(first_picture(render_quality=quality) - standard).mean()
        for quality in ("fast", "minimal")
    }
    assert 0 < distance["fast"] < 0.6 < distance["minimal"]


def test_a_larger_buffer_changes_no_pixel():
    small = first_picture(render_quality="fast")
    large = first_picture(
        render_quality="fast", render_mode="rgb_array", render_width=500, render_height=300
    )
    assert np.array_equal(small, large)


def test_quality_survives_a_rebuilt_physics():
    from dm_control.suite import walker

    env = make_env("walker-walk", render_quality="minimal").unwrapped
    before = env.reset(seed=3)[0]
    env.physics.reload_from_xml_string(*walker.get_model_and_assets())
    assert env.physics.model.vis.quality.offsamples == 4
    env.reset(seed=3)
    assert np.array_equal(env.current_observation(), before)
    env.close()


def test_camera_by_name_equals_camera_by_index():
    assert np.array_equal(first_picture(camera_id="back"), first_picture(camera_id=1))
    assert not np.array_equal(first_picture(camera_id="back"), first_picture())


def test_usual_camera_of_the_quadruped_is_the_one_beside_it():
    assert make_env("quadruped-walk").unwrapped.cameras[2] == "y"
    usual = first_picture("quadruped-walk", render_quality="minimal")
    beside = first_picture("quadruped-walk", render_quality="minimal", camera_id=2)
    assert np.array_equal(usual, beside)


@pytest.mark.parametrize(("camera", "words"), [("bakc", "Did you mean 'back'"), (7, "-1 and 1")])
def test_unknown_camera_is_named(camera, words):
    with pytest.raises(ConfigError, match=words):
        make_env("walker-walk", camera_id=camera)
