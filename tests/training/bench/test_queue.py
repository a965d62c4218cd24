"""The queue runs what is not done, skips what is, and says why a job failed."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import ClassVar

import psutil
import pytest

from aime_agent.errors import DataError
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.queue import finished, gather, run_queue


def done(spec, home):
    (home / spec.name).mkdir()
    (home / spec.name / RESULT).write_text(json.dumps({"spec": asdict(spec)}))


def test_jobs_run_in_processes_and_are_not_run_again(spec, change, tmp_path):
    specs = [change(spec, updates=1, evaluations=1, arm=arm) for arm in ("default", "rssm")]
    ended = []
    assert run_queue(specs, tmp_path, 2, ended.append) == []
    assert {e.spec.arm for e in ended} == {"default", "rssm"}
    results = gather(specs, tmp_path)
    assert [r["arm"]["name"] for r in results] == ["default", "rssm"]
    assert run_queue(specs, tmp_path, 2, ended.append) == []
    assert len(ended) == 2


def test_failure_is_told_and_the_rest_goes_on(spec, change, tmp_path):
    bad = change(spec, data="absent.npz")
    good = change(spec, seed=1)
    done(good, tmp_path)
    (failed,) = run_queue([bad, good], tmp_path, 1)
    assert failed.spec == bad
    assert "absent.npz" in failed.problem
    assert gather([bad, good], tmp_path)[0]["spec"]["seed"] == 1


def test_result_of_other_settings_does_not_count(spec, change, tmp_path):
    done(spec, tmp_path)
    assert finished(spec, tmp_path / spec.name)
    assert not finished(change(spec, updates=9), tmp_path / spec.name)


def test_nothing_done_is_an_error(spec, tmp_path):
    with pytest.raises(DataError, match="at least one finished job"):
        gather([spec], tmp_path)


@dataclass(frozen=True)
class Sleeper:
    """A job that never ends."""

    module: ClassVar[str] = "sleeper"
    name: str = "sleeper"


def test_sigterm_ends_the_jobs_too(tmp_path, monkeypatch):
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(300)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    seen = []

    def kill_once_it_runs():
        while not seen:
            time.sleep(0.05)
            seen.extend(
                p for p in psutil.Process().children() if "sleeper" in " ".join(p.cmdline())
            )
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=kill_once_it_runs)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        run_queue([Sleeper()], tmp_path / "jobs", 1)
    killer.join()
    assert not any(p.is_running() for p in seen)
    assert signal.getsignal(signal.SIGTERM) is before
