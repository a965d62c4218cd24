"""A run of the package's own agent that is killed twice equals one that is not."""

import signal

import numpy as np
import pytest
from integration.resuming import contents, metrics, workers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a whole run, and of one killed in an update and between two steps."""
    whole, broken = (tmp_path_factory.mktemp("agent") / name for name in ("whole", "broken"))
    rng = np.random.default_rng(5)
    with workers("agent_resume_worker.py") as work:
        assert work(whole) == 0
        for event, most in (("update", 9), ("send", 12)):
            assert work(broken, event, rng.integers(2, most)) == -signal.SIGKILL
        assert work(broken) == 0
    return whole, broken


def test_two_kills_change_no_metric(runs):
    whole, broken = map(metrics, runs)
    assert broken == whole
    assert [line["kind"] for line in whole].count("train") >= 4


def test_two_kills_change_no_bit_of_weights_and_replay(runs):
    whole, broken = runs
    assert (broken / "digest").read_text() == (whole / "digest").read_text()
    assert contents(broken) == contents(whole)
