"""What the tests of exact resuming share: a server of forked workers, and what is compared."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def workers(script):
    """Gives a function that runs one process of a worker script and returns its exit code."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(script))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def start(*arguments):
        server.stdin.write(" ".join(map(str, arguments)) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    yield start
    server.communicate()


def metrics(folder):
    """Lines of the metrics without their clock."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "clock"} for line in lines]


def contents(folder):
    """Bytes of all arrays and tensors of a run."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.suffix in (".npy", ".safetensors")
    }
