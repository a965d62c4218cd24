"""Jobs in processes of their own, as many at a time as there are cores for, one thread each.

A job whose folder holds the result of the same specification is done and is not run again; one
that was killed goes on from its last saved state. So the queue may be stopped and started at will.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from aime_agent.errors import DataError
from aime_agent.training.bench.files import RESULT, SPEC, write
from aime_agent.training.interrupts import sigterm_interrupts

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {
    "OMP_WAIT_POLICY": "PASSIVE"
}
_LOG = "log.txt"
_PAUSE = 0.2
_LAST_LINES = 3


@runtime_checkable
class Job(Protocol):
    """A frozen dataclass of JSON values; ``module`` runs it as ``python -m MODULE SPEC``."""

    module: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """Its folder's name."""


class Finished(NamedTuple):
    """A job that ended; ``problem`` says why it failed."""

    spec: Job
    problem: str | None


def finished(spec: Job, folder: Path) -> bool:
    """Whether the result of exactly this job lies in its folder."""
    path = folder / RESULT
    if not path.exists():
        return False
    found: dict[str, Any] = json.loads(path.read_text())["spec"]
    return found == asdict(spec)


def run_queue(
    specs: Sequence[Job],
    home: Path,
    jobs: int,
    report: Callable[[Finished], None] = lambda _: None,
    ready: Callable[[Job], bool] = lambda _: True,
) -> list[Finished]:
    """Runs what is not done yet; returns the jobs that failed.

    Args:
        specs: All jobs.
        home: Folder of the jobs' folders.
        jobs: How many at a time.
        report: Called as each job ends.
        ready: Whether a job may begin; one that needs another's result waits for it.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the jobs that ran have been ended, and go on next time.
    """
    waiting = [s for s in specs if not finished(s, home / s.name)]
    running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
    failed: list[Finished] = []
    with sigterm_interrupts():
        try:
            while waiting or running:
                for spec in list(filter(ready, waiting))[: jobs - len(running)]:
                    waiting.remove(spec)
                    running[spec.name] = (spec, _start(spec, home / spec.name))
                for end in _ended(running, home) if running else _blocked(waiting):
                    report(end)
                    failed += [end] if end.problem else []
                time.sleep(_PAUSE)
        finally:
            _stop([process for _, process in running.values()])
    return failed


def gather(specs: Sequence[Job], home: Path) -> list[dict[str, Any]]:
    """Returns the results of the jobs that are done.

    Raises:
        DataError: none is.
    """
    done = [s for s in specs if finished(s, home / s.name)]
    if not done:
        raise DataError(f"{home}: at least one finished job required, found none")
    return [json.loads((home / s.name / RESULT).read_text()) for s in done]


def _start(spec: Job, folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / SPEC, json.dumps(asdict(spec), indent=1).encode())
    command = [sys.executable, "-m", spec.module, str(folder / SPEC)]
    with (folder / _LOG).open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **_ONE_THREAD}
        )


def _ended(
    running: dict[str, tuple[Job, "subprocess.Popen[bytes]"]], home: Path
) -> Iterator[Finished]:
    """Takes the processes that ended out of those that run."""
    for name, (spec, process) in list(running.items()):
        code = process.poll()
        if code is None:
            continue
        del running[name]
        problem = None if code == 0 else _problem(code, home / name / _LOG)
        yield Finished(spec, problem)


def _blocked(waiting: list[Job]) -> Iterator[Finished]:
    """Gives up the jobs that wait for one that failed."""
    while waiting:
        yield Finished(waiting.pop(0), "not started: a job whose result it needs has failed")


def _problem(code: int, log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:]
    return f"exit code {code}: {' / '.join(lines)} (see {log})"


def _stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Ends what still runs, and waits for it."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
