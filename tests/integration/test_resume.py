"""A run that is killed ten times equals one that is not."""

import signal

import numpy as np
import pytest
from integration.resuming import contents, metrics, workers

EVENTS = ("send", "row", "update", "rename", "log", "file", "prune", "receive", "rename", "collect")
SPANS = {"send": 30, "row": 60, "update": 12, "log": 10, "receive": 30, "file": 10}


@pytest.fixture(scope="module")
def work():
    """Returns a function that runs one process and gives its exit code."""
    with workers("resume_worker.py") as start:
        yield start


@pytest.fixture(scope="module")
def whole(work, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert work(folder) == 0
    return folder


def test_ten_kills_change_no_bit(whole, work, tmp_path):
    folder, rng = tmp_path / "run", np.random.default_rng(7)
    for event in EVENTS:
        count = rng.integers(1, SPANS.get(event, 3))
        assert work(folder, event, count) == -signal.SIGKILL, (event, count)
    assert work(folder) == 0
    assert metrics(folder) == metrics(whole)
    assert (folder / "digest").read_text() == (whole / "digest").read_text()
    assert contents(folder) == contents(whole)


def test_kill_between_write_and_rename_leaves_the_previous_checkpoint(whole, work, tmp_path):
    assert work(tmp_path / "run", "rename", 3) == -signal.SIGKILL
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [".step_000000180.tmp", "step_000000060", "step_000000120"]
    assert work(tmp_path / "run") == 0
    assert metrics(tmp_path / "run") == metrics(whole)


def test_the_run_learned_and_crossed_episodes(whole):
    kinds = [line["kind"] for line in metrics(whole)]
    assert kinds.count("train") >= 10
    assert kinds.count("episode") >= 20
    assert kinds.count("eval") == 6
