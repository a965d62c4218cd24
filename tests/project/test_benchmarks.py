"""The benchmarks refuse what cannot be measured, and their helpers are right."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_peer_is_one_clear_line():
    words = [sys.executable, "-m", "benchmarks.speed", "--peer-dir", "nowhere"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--peer-dir nowhere" in done.stderr
    assert "models.py" in done.stderr


def test_peers_settings_are_merged_and_numbers_read(tmp_path):
    peer = load("peer")
    (tmp_path / "configs.yaml").write_text(
        "defaults: {units: 512, encoder: {cnn_depth: 32, act: SiLU}, actor: {lr: 3e-5}}\n"
    )
    config = peer.config(tmp_path, "small", 6)
    assert (config.units, config.num_actions, config.device) == (256, 6, "cpu")
    assert config.encoder == {"cnn_depth": 16, "act": "SiLU"}
    assert config.actor["lr"] == pytest.approx(3e-5)


def test_workloads_alternate_and_are_counted():
    timing = load("timing")
    order = []
    work = {name: lambda name=name: order.append(name) for name in "ab"}
    found = timing.alternate(work, repeats=2, calls={"b": 2})
    assert "".join(order) == "abb" * 3
    assert found[timing.CALIBRATION].ratio == pytest.approx(1.0)
    assert found["a"].repeats == 2


def test_calibration_is_the_same_every_time():
    found = load("timing").calibration()
    torch.testing.assert_close(found, torch.full_like(found, 1 / len(found)))
