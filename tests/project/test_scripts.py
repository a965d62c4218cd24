"""The example scripts start, say what they do, and profile a real update."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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


def test_humanoid_is_trained_by_two_processes_that_end_with_the_same_weights(tmp_path):
    words = "--preset tiny --device cpu --frames 32 --num-envs 2 --batch-size 2 --episodes 0"
    words += " --sequence-length 4 --prefill-frames 20 --pretrain-updates 1 --checkpoint-every 32"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [*launch, ROOT / "scripts/train_humanoid.py", *words.split(), "--out", tmp_path]
    done = subprocess.run(
        script, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    folders = (tmp_path, tmp_path / "rank1")
    first, second = (load_file(next(f.glob("checkpoints/*/agent.safetensors"))) for f in folders)
    assert [k for k in first if not torch.equal(first[k], second[k])] == []
    frames = [next(f.glob("replay/*/*/frames.npy")).read_bytes() for f in folders]
    assert frames[0] != frames[1]


def test_profile_counts_the_operations_of_an_update():
    out = run(ROOT / "scripts/profile_step.py", "--preset", "tiny", "--updates", "1", "--rows", "3")
    assert "operations per update" in out.splitlines()[-1]
