import json
import logging
import os
import shutil
import signal
import threading

import pytest

from aime_agent.data.saved import read_agent
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.training import checkpoint
from aime_agent.training.collector import Collector
from aime_agent.training.config import TrainConfig
from aime_agent.training.runfolder import RunFolder, resolve
from aime_agent.training.train import train

SMALL = {"frames": 240}


def run(toy, out, **settings):
    return train(
        settings.pop("task", "toy"),
        out=out,
        factories=toy.FACTORIES,
        **(toy.SETTINGS | SMALL | settings),
    )


def metrics(out):
    lines = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "clock"} for line in lines]


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    return out, run(toy, out).digest()


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def interrupt_at(monkeypatch, name, count, number=signal.SIGINT):
    original, calls = getattr(Collector, name), []

    def counted(self, *args):
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), number)
        return original(self, *args)

    monkeypatch.setattr(Collector, name, counted)


def test_same_seed_same_run_other_seed_other_run(toy, whole, tmp_path):
    assert run(toy, tmp_path / "a").digest() == whole[1]
    assert metrics(tmp_path / "a") == metrics(whole[0])
    assert run(toy, tmp_path / "b", seed=1).digest() != whole[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_saves_and_resume_is_exact(toy, whole, tmp_path, monkeypatch, number):
    interrupt_at(monkeypatch, "send", 37, number)
    with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
        run(toy, tmp_path)
    assert checkpoint.latest(tmp_path).name == "step_000000148"
    monkeypatch.undo()
    assert run(toy, tmp_path, resume=True).digest() == whole[1]
    assert metrics(tmp_path) == metrics(whole[0])


def test_finished_run_extended_equals_a_long_one(toy, copy, tmp_path):
    long = run(toy, tmp_path / "long", frames=300, eval_every_frames=60)
    short = run(toy, tmp_path / "short", eval_every_frames=60)
    more = run(toy, tmp_path / "short", frames=300, eval_every_frames=60, resume=True)
    assert more.digest() == long.digest() != short.digest()
    assert metrics(tmp_path / "short") == metrics(tmp_path / "long")


def test_evaluation_and_checkpoints_disturb_nothing(toy, whole, tmp_path):
    settings = {"checkpoint_every": 7, "eval_every_frames": 13, "keep_checkpoints": 1}
    assert run(toy, tmp_path, **settings).digest() == whole[1]
    assert len(checkpoint.names(tmp_path)) == 1


def test_tensorboard_changes_nothing_else(toy, whole, tmp_path):
    assert run(toy, tmp_path, tensorboard=True, image_every=5).digest() == whole[1]
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_damaged_checkpoint_falls_back_and_ends_the_same(toy, whole, copy, caplog):
    os.truncate(checkpoint.names(copy)[0] / "agent.safetensors", 9)
    with caplog.at_level(logging.WARNING):
        agent = run(toy, copy, resume=True)
    assert "falling back to the previous checkpoint" in caplog.text
    assert agent.digest() == whole[1]
    assert metrics(copy) == metrics(whole[0])


def test_damaged_replay_is_refused_with_its_name(toy, copy):
    path = copy / "replay/env000/000000/frames.npy"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"no checkpoint can be used.*frames\.npy"):
        run(toy, copy, resume=True)


def test_full_disk_stops_clearly_and_resumes_exactly(toy, whole, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    real = checkpoint.write_bytes
    monkeypatch.setattr(
        checkpoint, "write_bytes", lambda p, d: full() if "180" in str(p) else real(p, d)
    )
    with pytest.raises(CheckpointError, match=r"disk is full.*--resume"):
        run(toy, tmp_path)
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path).name == "step_000000120"
    assert run(toy, tmp_path, resume=True).digest() == whole[1]


def test_full_disk_while_collecting_is_the_same_error(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(CheckpointError, match="disk is full"):
        run(toy, tmp_path)


def test_byte_cap_resumes_exactly(toy, tmp_path, monkeypatch):
    settings = {"frames": 1200, "replay_bytes": 2 * 4 * 64 * 3090, "checkpoint_every": 200}
    digest = run(toy, tmp_path / "a", **settings).digest()
    interrupt_at(monkeypatch, "send", 280)
    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "b", **settings)
    monkeypatch.undo()
    assert run(toy, tmp_path / "b", resume=True, **settings).digest() == digest
    stored = [sorted(p.name for p in (tmp_path / x).glob("replay/env*/*")) for x in "ab"]
    assert stored[0] == stored[1]
    assert "000000" not in stored[0]


def test_existing_run_is_not_overwritten(toy, copy):
    with pytest.raises(ConfigError, match="holds a run already"):
        run(toy, copy)


def test_resume_refuses_another_run(toy, copy):
    with pytest.raises(ConfigError, match=r"seed must stay 0 as in .*, found 4"):
        run(toy, copy, resume=True, seed=4)


def test_resume_without_a_run_is_an_error(toy, tmp_path):
    with pytest.raises(CheckpointError, match="a run folder required"):
        run(toy, tmp_path, resume=True)


def test_resume_before_the_first_checkpoint_starts_anew(toy, whole, copy):
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    assert run(toy, copy, resume=True).digest() == whole[1]
    assert metrics(copy) == metrics(whole[0])


def test_unknown_setting_names_the_nearest(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"no setting 'framez'.*'frames'"):
        run(toy, tmp_path, framez=3)
    with pytest.raises(ConfigError, match="task must be given"):
        run(toy, tmp_path, task=None)


def test_run_and_checkpoint_both_resolve(copy):
    newest = checkpoint.latest(copy)
    assert resolve(copy)[1] == resolve(newest)[1] == newest
    assert resolve(newest)[0].path == copy
    with pytest.raises(CheckpointError, match="a run folder or a checkpoint"):
        resolve(copy.parent)


def test_agent_is_read_from_run_and_checkpoint(copy):
    for path in (copy, str(checkpoint.latest(copy))):
        config, tensors = read_agent(path)
        assert config == {"kind": "toy"}
        assert "net.weight" in tensors


def test_unreadable_config_is_named(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        RunFolder(copy, TrainConfig).read_config()


def test_other_machine_is_mentioned(toy, copy, caplog, monkeypatch):
    monkeypatch.setattr("aime_agent.training.runfolder._PACKAGES", ("torch",))
    run(toy, copy, resume=True)
    assert "resuming with another packages" in caplog.text


def test_a_thread_may_train(toy, whole, tmp_path):
    digests = []
    worker = threading.Thread(target=lambda: digests.append(run(toy, tmp_path / "t").digest()))
    worker.start()
    worker.join()
    assert digests == [whole[1]]
