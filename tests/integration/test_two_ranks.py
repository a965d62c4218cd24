"""Two processes (gloo, on the CPU) learn what one process learns from both their batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("two_ranks_worker.py")


def start(path, rank, ranks, port):
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    env = os.environ | {k: str(v) for k, v in places.items()} | {"MASTER_ADDR": "127.0.0.1"}
    words = [sys.executable, str(WORKER), str(path)]
    return subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process alone ends with, and each of two."""
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    files = [folder / name for name in ("alone.pt", "0.pt", "1.pt")]
    places = [(0, 1), (0, 2), (1, 2)]
    workers = [start(f, *place, port) for f, place in zip(files, places, strict=True)]
    try:
        for worker in workers:
            _, said = worker.communicate(timeout=120)
            assert worker.returncode == 0, said
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    alone, first, second = (torch.load(f, weights_only=True) for f in files)
    return alone, [first, second]


@pytest.mark.parametrize("balancer", ["sum", "rgb"])
def test_two_ranks_equal_one_process_on_the_joint_batch(runs, balancer):
    alone, both = runs
    keys = [k for k in alone if k.startswith(balancer)]
    assert f"{balancer}.loss.1" in keys
    assert any("codebook" in k for k in keys)
    for rank in both:
        for key in keys:
            torch.testing.assert_close(rank[key], alone[key], rtol=1e-6, atol=1e-9, msg=key)


def test_agents_with_seeds_and_batches_of_their_own_stay_one(runs):
    first, second = runs[1]
    assert first["moved"] > 0
    different = [
        k for k in first if k.startswith("agent.") and not torch.equal(first[k], second[k])
    ]
    assert different == []
    alone = runs[0]
    assert any(not torch.equal(first[k], alone[k]) for k in alone if "behaviour.actor." in k)


def test_return_percentiles_are_those_of_all_ranks(runs):
    alone, both = runs
    assert alone["scale"] > 1
    assert [rank["scale"].item() for rank in both] == [alone["scale"].item()] * 2
