"""Choice of the OpenGL back-end and the guard against forks."""

import os
import subprocess
import sys

import pytest

from aime_agent.envs import gl
from aime_agent.errors import RenderError


def works():
    return ""


def fails():
    return "missing"


def run_python(code, **environ):
    variables = {**os.environ, **environ}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


@pytest.mark.parametrize(
    ("environ", "egl", "osmesa", "backend"),
    [
        ({"MUJOCO_GL": "OSMesa"}, works, works, "osmesa"),
        ({"DISPLAY": ":0"}, works, works, "glfw"),
        ({}, works, fails, "egl"),
        ({}, fails, works, "osmesa"),
        ({}, fails, fails, "disabled"),
    ],
)
def test_user_then_display_then_what_works(environ, egl, osmesa, backend):
    report = gl.decide(environ, "linux", egl, osmesa)
    assert report.backend == backend
    assert report.can_render == (backend != "disabled")


def test_report_says_what_was_tried_and_the_cure():
    report = gl.decide({}, "linux", fails, fails)
    assert report.tried == ("egl: missing", "osmesa: missing")
    assert report.cure == "apt-get install -y libegl1 libgl1"


def test_other_systems_are_left_alone():
    assert gl.decide({}, "darwin", fails, fails).backend == "glfw"


def test_pixels_without_opengl_are_refused_and_states_work():
    code = (
        "import gymnasium as gym, aime_agent\n"
        "env = gym.make('AIME/cartpole-swingup-v0', observation='state')\n"
        "env.reset(seed=0); env.step([0.0]); print('state works')\n"
        "gym.make('AIME/cartpole-swingup-v0')"
    )
    done = run_python(code, MUJOCO_GL="disabled")
    assert "state works" in done.stdout
    assert "RenderError: cartpole-swingup needs OpenGL" in done.stderr
    assert gl.CURE in done.stderr


def test_unknown_backend_of_the_user_is_explained():
    done = run_python("import aime_agent.envs as e; e.make_env('walker-walk')", MUJOCO_GL="wrong")
    assert "RenderError: MUJOCO_GL=wrong cannot be loaded" in done.stderr


FORK = """
import os, warnings, gymnasium as gym, aime_agent
from aime_agent.errors import RenderError
warnings.simplefilter("ignore")
env = gym.make("AIME/cartpole-swingup-v0", render_quality="minimal")
env.reset(seed=0)
child = os.fork()
if child == 0:
    refused = 0
    for attempt in (lambda: env.step([0.0]), lambda: gym.make("AIME/cartpole-swingup-v0")):
        try:
            attempt()
        except RenderError as error:
            refused += "forkserver" in str(error)
    env.close()
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
env.step([0.0])
"""


@pytest.mark.render
def test_fork_of_a_rendering_process_is_refused_at_once():
    done = run_python(FORK)
    assert done.stdout.strip() == "2", done.stderr


def test_fork_is_refused_by_process_id(monkeypatch):
    monkeypatch.setattr(gl, "_rendering_pid", os.getpid() + 1)
    with pytest.raises(RenderError, match="forked"):
        gl.claim("render")
