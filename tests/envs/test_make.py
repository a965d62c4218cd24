"""Vector environments."""

import os
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from aime_agent.envs import gl
from aime_agent.envs.make import fast_forward_vector, make_env, make_vector
from aime_agent.errors import ConfigError, RenderError

PIXELS = {"render_quality": "minimal", "image_size": 32, "action_repeat": 500}


@pytest.mark.render
def test_pixels_in_two_processes_equal_pixels_in_one():
    workers = make_vector("cartpole-swingup", 2, autoreset_mode=AutoresetMode.SAME_STEP, **PIXELS)
    here = make_vector(
        "cartpole-swingup", 2, autoreset_mode=AutoresetMode.SAME_STEP, in_process=True, **PIXELS
    )
    actions = np.array([[0.5], [-0.5]], np.float32)
    assert np.array_equal(workers.reset(seed=3)[0], here.reset(seed=3)[0])
    for _ in range(3):
        *found, info = workers.step(actions)
        *wanted, expected = here.step(actions)
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert ("final_obs" in info) == ("final_obs" in expected) == bool(found[3].all())
    workers.close(), here.close()


@pytest.mark.render
def test_final_observation_is_the_last_of_the_episode():
    vector = make_vector(
        "cartpole-swingup", 1, autoreset_mode="SameStep", in_process=True, **PIXELS
    )
    alone = make_env("cartpole-swingup", **PIXELS)
    vector.reset(seed=3), alone.reset(seed=3)
    vector.step(np.zeros((1, 1), np.float32)), alone.step(np.zeros(1))
    observation, *_, info = vector.step(np.zeros((1, 1), np.float32))
    assert np.array_equal(info["final_obs"][0], alone.step(np.zeros(1))[0])
    assert np.array_equal(observation[0], alone.reset()[0])
    vector.close(), alone.close()


def test_a_single_environment_runs_in_a_process_of_its_own_with_one_thread():
    vector = make_vector("cartpole-swingup", 1, observation="state", context="spawn")
    assert vector.processes[0].pid != os.getpid()
    assert vector.reset(seed=0)[0].shape == (1, 5)
    vector.close()
    assert not vector.processes[0].is_alive()


@pytest.mark.parametrize("in_process", [True, False])
def test_each_part_is_replayed_to_its_own_moment(in_process):
    settings = {"observation": "state", "in_process": in_process}
    played, replayed = (make_vector("cartpole-swingup", 2, **settings) for _ in range(2))
    played.reset(seed=[4, 9])
    actions = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2, 1)
    rewards = np.array([played.step(action)[1] for action in actions])
    seen, again = fast_forward_vector(replayed, [4, 9], list(actions.swapaxes(0, 1)))
    assert np.array_equal(np.stack(again, axis=1), rewards)
    assert np.array_equal(np.stack(seen), played.call("current_observation"))
    assert np.array_equal(replayed.step(actions[0])[0], played.step(actions[0])[0])
    played.close(), replayed.close()


def test_building_for_the_spaces_claims_no_opengl(monkeypatch):
    monkeypatch.setattr(gl, "_rendering_pid", None)
    make_env("walker-walk", render_mode="rgb_array").close()
    assert gl._rendering_pid is None


SCRIPT = """
import gymnasium, numpy
from aime_agent.envs.make import make_vector

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (32, 32, 3), numpy.uint8)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), numpy.float32)
    def reset(self, *, seed=None, options=None):
        return numpy.zeros((32, 32, 3), numpy.uint8), {}
    def step(self, action):
        return numpy.zeros((32, 32, 3), numpy.uint8), 1.0, False, False, {}

gymnasium.register("Own/Env-v0", Own)
vector = make_vector(TASK)
vector.reset(seed=0)
print("reward", vector.step(numpy.zeros((1, 1), numpy.float32))[1].shape)
vector.close()
"""


@pytest.mark.parametrize(
    "task",
    [
        "'cartpole-swingup', 1, observation='state'",
        "'Own/Env-v0', 1, context='spawn', image_size=32",
        "'Own/Env-v0', 1, image_size=32",
    ],
)
def test_a_script_needs_no_guard_and_runs_once(tmp_path, task):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("TASK", task))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "reward (1,)\n"), done.stderr


@pytest.mark.parametrize(
    ("task", "said"), [("Nowhere/Env-v0", "Nowhere"), ("AIME/walker-wlk-v0", "walker-walk")]
)
def test_an_unknown_id_is_named(task, said):
    with pytest.raises(ConfigError, match=f"unknown to Gymnasium.*{said}"):
        make_env(task)


def test_fork_is_refused():
    with pytest.raises(ConfigError, match="hangs"):
        make_vector("walker-walk", 2, context="fork")


def test_no_environments_are_refused():
    with pytest.raises(ConfigError, match="num_envs"):
        make_vector("walker-walk", 0)


def test_a_worker_that_does_not_start_is_an_error():
    with pytest.raises(RenderError, match="did not start within"):
        make_vector("cartpole-swingup", 1, start_timeout=0.0, observation="state")


def test_threads_are_restored_after_the_workers_have_started(monkeypatch):
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    make_vector("cartpole-swingup", 1, observation="state").close()
    assert "LP_NUM_THREADS" not in os.environ


def test_number_of_replays_must_match():
    vector = make_vector("cartpole-swingup", 1, observation="state", in_process=True)
    with pytest.raises(ConfigError, match="must have 1 entries"):
        fast_forward_vector(vector, [1, 2], [[], []])
    vector.close()
