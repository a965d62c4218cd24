"""The example scripts start, say what they do, and profile a real update."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_help_shows_what_the_script_does(script):
    first_line = script.read_text().splitlines()[0].strip('"')
    assert " ".join(first_line.split()[:4]) in run(script, "--help")


def test_profile_counts_the_operations_of_an_update():
    out = run(ROOT / "scripts/profile_step.py", "--preset", "tiny", "--updates", "1", "--rows", "3")
    assert "operations per update" in out.splitlines()[-1]
