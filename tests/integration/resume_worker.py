"""Runs or resumes the toy run in processes that kill themselves where they are told.

Every line of the input, ``FOLDER [EVENT COUNT]``, starts a process; its wait status is the answer.
The processes are forks of this one, which has imported torch and done nothing else.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import toy

from aime_agent.data.storage import ShardStore
from aime_agent.training import checkpoint
from aime_agent.training.collector import Collector
from aime_agent.training.loggers import JsonlLogger
from aime_agent.training.train import train

EVENTS = {
    "send": (Collector, "send"),
    "receive": (Collector, "receive"),
    "row": (ShardStore, "append"),
    "update": (toy.ToyAgent, "update"),
    "log": (JsonlLogger, "log"),
    "file": (checkpoint, "write_bytes"),
    "rename": (checkpoint, "_rename"),
    "prune": (checkpoint, "prune"),
    "collect": (ShardStore, "collect"),
}


def kill_at(event, count):
    """Lets the process die by SIGKILL just before the ``count``-th call of ``event``."""
    owner, name = EVENTS[event]
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def run(folder, event=None, count="0"):
    if event:
        kill_at(event, int(count))
    resume = (Path(folder) / "config.json").exists()
    agent = train("toy", out=folder, resume=resume, factories=toy.FACTORIES, **toy.SETTINGS)
    (Path(folder) / "digest").write_text(agent.digest())


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(*line.split())
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
