"""Ids of the control suite."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from aime_agent.envs.suite import SUITE_TASKS, register_suite, task_id, task_names
from aime_agent.errors import ConfigError


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_table_equals_the_suites_own():
    from dm_control import suite

    assert SUITE_TASKS == suite.ALL_TASKS


def test_every_task_is_registered_with_an_entry_point_that_is_text():
    specs = [gymnasium.spec(task_id(name)) for name in task_names()]
    assert len(specs) == 51
    assert all(isinstance(spec.entry_point, str) for spec in specs)


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    register_suite()
    assert dict(gymnasium.registry) == before


def test_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'walker-walk'"):
        task_id("walker-wlk")


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'mujoco', 'dm_control', 'shimmy', 'stable_baselines3'}"
    done = run_python(f"import sys, aime_agent; print({heavy} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_plain_top_level_import_is_refused():
    root = Path(__file__).parents[2]
    done = run_python(f"import sys; sys.path.insert(0, {str(root)!r}); import envs")
    assert "import aime_agent.envs, not envs" in done.stderr
