import json
import logging
import os
import shutil

import pytest
import torch

from aime_agent.errors import CheckpointError
from aime_agent.training import checkpoint
from aime_agent.training.checkpoint import Checkpoint


def make(value=1.0):
    weight = torch.full((3, 2), value)
    agent = {"w": weight, "tied": weight, "count": torch.tensor(7), "bits": torch.tensor([True])}
    return Checkpoint(agent, {"h": torch.zeros(0, 4)}, {"kind": "toy"}, {"updates": 3})


@pytest.fixture
def run(tmp_path):
    for step in (10, 20):
        checkpoint.save(tmp_path / "checkpoints" / f"step_{step:09d}", make(float(step)))
    return tmp_path


def newest(run):
    return checkpoint.names(run)[0]


def test_what_is_saved_is_loaded(run):
    loaded, saved = checkpoint.load(newest(run)), make(20.0)
    assert {k: v.dtype for k, v in loaded.agent.items()} == {
        k: v.dtype for k, v in saved.agent.items()
    }
    assert all(torch.equal(loaded.agent[k], saved.agent[k]) for k in saved.agent)
    assert loaded.acting["h"].shape == (0, 4)
    assert (loaded.agent_config, loaded.trainer) == (saved.agent_config, saved.trainer)


def test_only_safetensors_and_json_are_written(run):
    assert {p.suffix for p in newest(run).iterdir()} == {".safetensors", ".json"}


def test_latest_is_the_newest(run):
    assert checkpoint.latest(run).name == "step_000000020"


@pytest.mark.parametrize("name", ["agent.safetensors", "acting.safetensors", "trainer.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_harm_falls_back_and_says_so(run, caplog, name, harm):
    path = newest(run) / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    {
        "cut": lambda: os.truncate(path, 5),
        "flip": lambda: path.write_bytes(data),
        "remove": path.unlink,
    }[harm]()
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest(run).name == "step_000000010"
    assert name in caplog.text
    assert "falling back" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', "{}", '{"format": 1'])
def test_foreign_index_is_refused(run, text):
    (newest(run) / "files.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"foreign|not a checkpoint"):
        checkpoint.load(newest(run))


def test_other_format_version_is_refused(run):
    path = newest(run) / "files.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(CheckpointError, match="format version 1 required, found 99"):
        checkpoint.load(newest(run))


def test_no_valid_checkpoint_names_each_problem(run):
    for folder in checkpoint.names(run):
        (folder / "agent.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"step_000000020: incomplete: agent\.json is missing"
    ):
        checkpoint.latest(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="found no checkpoint"):
        checkpoint.latest(run)


def test_full_disk_leaves_old_checkpoints_and_no_rubbish(run, monkeypatch):
    real = checkpoint.write_bytes

    def full(path, data):
        real(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"disk is full.*previous checkpoint is valid"):
        checkpoint.save(run / "checkpoints" / "step_000000030", make())
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
        "step_000000010",
        "step_000000020",
    ]
    assert checkpoint.latest(run).name == "step_000000020"


def test_other_errors_keep_their_type():
    with pytest.raises(PermissionError), checkpoint.explained_full_disk("testing"):
        raise PermissionError(13, "no")


def test_valid_checkpoint_is_not_rewritten_but_a_damaged_one_is(run):
    folder = checkpoint.save(newest(run), make(5.0))
    assert checkpoint.load(folder).agent["w"][0, 0] == 20
    (folder / "agent.json").unlink()
    assert checkpoint.load(checkpoint.save(folder, make(5.0))).agent["w"][0, 0] == 5


def test_prune_keeps_the_newest_and_removes_rubbish(run):
    (run / "checkpoints" / ".step_000000040.tmp").mkdir()
    kept = checkpoint.prune(run, 1)
    assert [p.name for p in kept] == ["step_000000020"] == os.listdir(run / "checkpoints")  # noqa: PTH208


def test_unreadable_trainer_state_is_empty(tmp_path):
    assert checkpoint.trainer_state(tmp_path) == {}
