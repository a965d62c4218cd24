"""What pages of docs/ tell people to type does what they say, on runs of a few actions.

The commands of a page run in order in one folder that has the runs they name. `SMALL` adds words that
make them small and change nothing else.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from pages import ROOT, page_commands, shorter

import aime_agent
from aime_agent.cli.main import main

PAGES = ("videos", "plug_in", "latent_world", "planning")
TINY = {
    "preset": "tiny", "action_repeat": 20, "image_size": 32, "render_quality": "minimal",
    "prefill_frames": 500, "sequence_length": 5, "batch_size": 2, "pretrain_updates": 1,
    "train_every": 50, "tensorboard": "false",
}  # fmt: skip
SHORTER = [
    (r"--steps[ =]\d+", "--steps 5"),
    (r"--mark[ =]\d+", "--mark 2"),
    (r"--train-frames[ =][\d_]+", "--train-frames 600"),
    (r"--seeds[ =][\d,]+", "--seeds 0"),
    (r"num_starts=\d+", "num_starts=8"),
    (r"(?<!num_)horizon=\d+", "horizon=4"),
]
SMALL = {
    r"aime-agent record ": "--steps 5 --scale 1",
    r"aime-agent record-all ": "--steps 5 --scale 1",
    r"aime-agent record-all --tasks": " ".join(f"--set {k}={v}" for k, v in TINY.items()),
    r"aime-agent train ": "--action-repeat 20 --render-quality minimal --eval-episodes 1"
    " --set eval_dreams=2 --set context=3 --set sb3.batch_size=4",
    r"aime-agent train .*sb3-ppo": "--num-envs 4 --set sb3.n_steps=8",
    r"aime-agent train (?!.*num_starts)": "--set num_starts=8 --set horizon=4",
    r"aime-agent bench plug-in ": "--arms random --render-quality minimal --set action_repeat=20",
    r"python -m benchmarks.ranking ": "--starts 4 --horizon 3",
}


def small(command):
    """Returns the words of a command, numbers made small."""
    extra = [words for start, words in SMALL.items() if re.match(start, command)]
    words = shlex.split(shorter(command, SHORTER), comments=True)
    return [*words, *shlex.split(" ".join(extra))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the runs that pages speak of."""
    home = tmp_path_factory.mktemp("pages")
    settings = {**TINY, "tensorboard": False, "agent": {"dream_starts": 4, "horizon": 2}}
    for task, name in (("cartpole-balance", "walker"), ("walker-stand", "quickstart")):
        out = home / "runs" / name
        aime_agent.train(task, out=out, frames=1_100, eval_episodes=0, **settings)
    for name in ("cartpole", "humanoid"):
        shutil.copytree(home / "runs" / "walker", home / "runs" / name)
    (home / "benchmarks" / "results").mkdir(parents=True)
    shutil.copytree(ROOT / "docs", home / "docs")
    return home


@pytest.mark.render
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run_in_order(page, home, monkeypatch):
    monkeypatch.chdir(home)
    found = page_commands((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert found
    for command in found:
        words = small(command)
        if words[0] == "aime-agent":
            assert main(words[1:]) == 0, command
            continue
        assert words[:2] == ["python", "-m"], command
        path = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words[1:]], env=path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_commands_are_made_small_and_nothing_else():
    command = "aime-agent record runs/walker --mark 20  # a film"
    wanted = "aime-agent record runs/walker --mark 2 --steps 5 --scale 1"
    assert small(command) == wanted.split()
