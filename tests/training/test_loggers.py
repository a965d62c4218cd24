import io
import json
import math
import sys

import numpy as np
import pytest
import torch
from rich.console import Console

from aime_agent.errors import CheckpointError, MissingDependencyError
from aime_agent.training import loggers
from aime_agent.training.loggers import JsonlLogger, ProgressLogger, Record, TensorBoardLogger


def record(update=1, kind="train", **values):
    return Record(kind, update, 2 * update, values, {"frames_per_second": 4.0, "elapsed": 1.23456})


def lines(path):
    return [json.loads(x) for x in path.read_text().splitlines()]


def test_line_has_counters_values_and_clock_apart(tmp_path):
    logger = JsonlLogger(tmp_path / "m.jsonl")
    logger.log(record(loss=0.1))
    clock = {"frames_per_second": 4.0, "elapsed": 1.235}
    assert lines(tmp_path / "m.jsonl") == [
        {"kind": "train", "update": 1, "frames": 2, "loss": 0.1, "clock": clock}
    ]
    logger.close()


def test_not_finite_becomes_null(tmp_path):
    logger = JsonlLogger(tmp_path / "m.jsonl")
    logger.log(record(loss=math.nan, kl=math.inf))
    logger.close()
    assert lines(tmp_path / "m.jsonl")[0]["loss"] is None


def test_rollback_cuts_later_lines(tmp_path):
    logger = JsonlLogger(tmp_path / "m.jsonl")
    logger.log(record(1))
    lengths = logger.lengths()
    logger.log(record(2))
    logger.close()
    again = JsonlLogger(tmp_path / "m.jsonl", lengths)
    again.log(record(3))
    again.close()
    assert [x["update"] for x in lines(tmp_path / "m.jsonl")] == [1, 3]


def test_lost_lines_are_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="9 bytes required, found 0"):
        JsonlLogger(tmp_path / "m.jsonl", {"m.jsonl": 9})


def test_tensorboard_rolls_back_and_goes_on(tmp_path):
    first = TensorBoardLogger(tmp_path)
    first.log(record(1, loss=1.0))
    first.pictures(1, {"a": np.zeros((4, 4, 3), np.uint8)})
    first.histograms(1, {"w": torch.ones(3)})
    lengths = first.lengths()
    first.log(record(2, loss=2.0))
    first.close()
    second = TensorBoardLogger(tmp_path, lengths)
    second.log(record(3, loss=3.0))
    second.close()
    assert scalars(tmp_path, "train/loss") == [(2, 1.0), (6, 3.0)]


def scalars(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = []
    for path in sorted(folder.glob("events.*")):
        events = EventAccumulator(str(path)).Reload()
        if tag in events.Tags()["scalars"]:
            found += [(e.step, e.value) for e in events.Scalars(tag)]
    return sorted(found)


def test_missing_tensorboard_names_the_extra(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"aime-agent\[tensorboard\]"):
        TensorBoardLogger(tmp_path)
    made = loggers.make_loggers(tmp_path / "m.jsonl", tmp_path, ProgressLogger(10), None)
    assert [type(x).__name__ for x in made] == ["JsonlLogger", "ProgressLogger"]
    assert "metrics.jsonl is written" in caplog.text
    made[0].close()


def test_plain_lines_without_a_terminal():
    stream = io.StringIO()
    logger = ProgressLogger(1000, Console(file=stream))
    logger.log(record(20, kind="episode", **{"return": 12.5}))
    assert stream.getvalue() == ""
    logger.log(record(100, loss=1.0))
    text = stream.getvalue()
    assert "200/1,000 frames" in text
    assert "4 frames/s  return 12.5  left 0:03 h" in text


def test_bar_on_a_terminal_shows_the_same_numbers():
    stream = io.StringIO()
    logger = ProgressLogger(1000, Console(file=stream, force_terminal=True, width=120))
    logger.log(record(20, loss=1.0))
    logger.close()
    assert "40/1,000 frames" in stream.getvalue()
