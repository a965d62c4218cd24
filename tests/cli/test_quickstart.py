"""The quickstart: its table and verdict by hand, and a whole one in miniature."""

import json

import pytest

from aime_agent.cli import quickstart
from aime_agent.cli.main import main
from aime_agent.cli.quickstart import Row, table, verdict

ROWS = [
    Row("random actions", (10.0, 14.0), 12.0, (8.0, 16.0)),
    Row("zero actions", (2.0, 2.0), 2.0, (2.0, 2.0)),
    Row("untrained agent", (5.0, 7.0), 6.0, (4.0, 8.0)),
    Row("trained agent", (300.0, 320.0), 310.0, (250.0, 370.0)),
]


def test_verdict_compares_the_lower_end_with_the_best_baseline():
    assert "begins at 250.0: +238.0 against the best of the others (random actions" in verdict(ROWS)


def test_table_has_a_line_per_policy_and_names_the_render_quality():
    lines = table(ROWS, "walker-stand", "fast").splitlines()
    assert "walker-stand, 2 episodes of 1,000 frames, render quality 'fast'" in lines[1]
    assert lines[-1].split() == [
        *["trained", "agent", "310.0", "250.0", "to", "370.0", "300.0", "320.0"]
    ]


@pytest.mark.render
def test_quickstart_trains_compares_films_and_does_not_train_twice(tmp_path, monkeypatch, capsys):
    small = {"preset": "tiny", "num_envs": 1, "prefill_frames": 400, "pretrain_updates": 1}
    small |= {"threads": 1, "train_every": 20, "image_every": 0}
    monkeypatch.setattr(quickstart, "SETTINGS", {**quickstart.SETTINGS, **small})
    run, film = tmp_path / "run", tmp_path / "film.mp4"
    words = ["quickstart", "cartpole-balance", "--frames", "600", "--episodes", "2"]
    words += ["--out", str(run), "--video", str(film)]
    assert main(words) == 0
    assert film.stat().st_size > 1000
    report = json.loads((run / "quickstart.json").read_text())
    assert [row["name"] for row in report["rows"]] == [row.name for row in ROWS]
    assert "training on cartpole-balance" in capsys.readouterr().out
    assert main(words) == 0
    assert "is trained already" in capsys.readouterr().out
    assert main(["quickstart", "walker-walk", *words[2:]]) == 2
    assert "holds a run on cartpole-balance" in capsys.readouterr().err


def test_cut_actor_leaves_the_actor_untrained(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("aime_agent.training.train.train", lambda *a, **k: seen.update(k))
    args = quickstart.QuickstartArgs(out=str(tmp_path / "new"), cut_actor=True)
    quickstart._trained(args, tmp_path / "new")
    assert seen["agent"]["train_actor"] is False
