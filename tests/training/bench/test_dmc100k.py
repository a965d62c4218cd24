"""Learning curves: rows are kept, scores are the last ones, tables and pictures say what rows say."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aime_agent.cli.main import main
from aime_agent.errors import ConfigError, DataError
from aime_agent.training.bench import curve
from aime_agent.training.bench.curve import RUN, CurveSpec, counting, read_curve
from aime_agent.training.bench.dmc100k import Curves, collect, learn
from aime_agent.training.bench.dmc100k_report import plot, report_tables, scores, summary
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.published import load_published
from aime_agent.training.bench.rows import save_rows, stored_rows
from aime_agent.training.config import TrainConfig
from aime_agent.training.spending import spent

PUBLISHED = Path(__file__).parents[3] / "benchmarks" / "baselines" / "dmc100k_published.json"


def row(
    task="walker-walk", seed=0, returns=(100.0, 300.0), commit="a", finished=True, frames=100_000
):
    points = [
        {
            "frames": frames * (i + 1) // len(returns),
            "update": 10 * (i + 1),
            "return": value,
            "cpu_seconds": 60.0 * (i + 1),
            "wall_seconds": 120.0 * (i + 1),
        }
        for i, value in enumerate(returns)
    ]
    return {
        "spec": asdict(CurveSpec(task=task, seed=seed, frames=frames)),
        "task": task,
        "seed": seed,
        "curve": points,
        "parameters": {"world_model": 1_000_000, "behaviour": 200_000},
        "commits": [commit],
        "finished": finished,
    }


@pytest.fixture(scope="module")
def published():
    return load_published(PUBLISHED)


def test_published_means_are_those_of_the_sources(published):
    found = {
        m: round(published.mean("cartpole-balance", m, 100_000))
        for m in ("dreamerv3", "drqv2", "curl", "sac")
    }
    assert found == {"dreamerv3": 946, "drqv2": 987, "curl": 982, "sac": 953}
    assert round(published.mean("finger-spin", "tdmpc2", 100_000)) == 981
    assert published.mean("cartpole-balance", "tdmpc2", 100_000) is None
    assert published.mean("cartpole-balance", "curl", 99_999) is None


def test_score_is_the_last_evaluation_of_the_run_added_last():
    rows = [
        row(returns=(900.0, 300.0)),
        row(seed=1, returns=(1.0, 2.0)),
        row(seed=2, finished=False),
    ]
    assert scores(rows, "walker-walk") == [300.0, 2.0]
    assert scores([*rows, row(returns=(0.0, 500.0), commit="b")], "walker-walk") == [500.0, 2.0]


def test_rows_stay_and_a_finished_one_is_not_lost(tmp_path):
    file = tmp_path / "rows.json"
    save_rows([row(), row(seed=1, finished=False)], file)
    save_rows(
        [*stored_rows(file), row(returns=(7.0,), finished=False), row(seed=1), row(commit="b")],
        file,
    )
    kept = [
        (r["seed"], r["commits"], r["finished"], r["curve"][-1]["return"])
        for r in stored_rows(file)
    ]
    assert kept == [(0, ["a"], True, 300.0), (1, ["a"], True, 300.0), (0, ["b"], True, 300.0)]


def test_tables_by_hand(published):
    rows = [row(), row(seed=1, returns=(0.0, 500.0)), row("finger-spin", finished=False)]
    tables = report_tables(rows, published)
    lines = tables["results"].splitlines()
    assert lines[2].startswith(
        "| walker-walk | 300, 500 | **400** | 605 | 170 | 516 | 83 | 464 | ≥ 650 |"
    )
    assert lines[3].startswith("| finger-spin | unfinished | ")
    assert (
        "walker-walk, seed 1 | 100,000 | 20 | 2 | 4 | 1,000,000 + 200,000 | `a` |" in tables["cost"]
    )
    assert "2 runs of 1 tasks: 400" in tables["summary"]
    assert summary([row(finished=False)]) == "No run has finished.\n"


def test_picture_shows_every_task(published, tmp_path):
    plot(
        [row(), row("finger-spin"), row("cheetah-run", finished=False)],
        published,
        tmp_path / "c.png",
    )
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).reshape(-1, 3).astype(int)
    ours = np.abs(picture - (0x00, 0x72, 0xB2)).sum(1) < 20
    assert ours.sum() > 300


def test_a_job_trains_evaluates_and_says_what_it_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(
        curve, "default_evaluation", lambda config: lambda agent: {"return": float(config.frames)}
    )
    settings = {"image_size": 32, "prefill_frames": 40, "pretrain_updates": 1, "train_every": 20,
                "batch_size": 2, "sequence_length": 4, "tensorboard": False, "action_repeat": 8}  # fmt: skip
    spec = CurveSpec(
        task="cartpole-balance", frames=160, points=2, episodes=1, preset="tiny", settings=settings
    )
    result = curve.run(spec, tmp_path)
    assert [(p["frames"], p["return"]) for p in result["curve"]] == [(80, 160.0), (160, 160.0)]
    first, last = result["curve"]
    assert 0 < first["cpu_seconds"] < last["cpu_seconds"]
    assert 0 < first["wall_seconds"] < last["wall_seconds"]
    assert len(result["commits"]) == 1
    (found,) = collect([spec], _moved(tmp_path, spec))
    assert found == {**result, "finished": True}


def _moved(folder, spec):
    home = folder.parent / "home"
    (home / spec.name / RUN).mkdir(parents=True)
    for name in (RESULT, f"{RUN}/metrics.jsonl"):
        (home / spec.name / name).write_bytes((folder / name).read_bytes())
    return home


def test_an_unfinished_run_has_a_row_that_says_how_far_it_came(tmp_path):
    spec = CurveSpec(task="cartpole-balance")
    assert collect([spec], tmp_path) == []
    folder = tmp_path / spec.name / RUN
    folder.mkdir(parents=True)
    lines = [
        {"kind": "train", "frames": 1},
        {"kind": "eval", "frames": 2, "return": 3.0, "loss": 0.0},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (found,) = collect([spec], tmp_path)
    assert (found["finished"], found["curve"]) == (False, [{"frames": 2, "return": 3.0}])


def test_seconds_of_earlier_processes_are_added():
    make = counting({"cpu_seconds": 1e6, "wall_seconds": 2e6})
    assert make(TrainConfig(task="walker-walk", eval_episodes=0)) is None
    now = spent()
    assert 0 < now["cpu_seconds"] < 1e5
    assert now["wall_seconds"] > 0


def test_failed_runs_are_told_and_leave_the_file_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "MUJOCO_GL", "disabled")
    curves = Curves(tasks=("cartpole-balance",), frames=100, points=1, settings={"image_size": 16})
    (failed,) = learn(curves, tmp_path)
    assert "image_size" in failed.problem
    assert stored_rows(tmp_path / "dmc100k.json") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 7}, "multiple of its 10 points"),
        ({"points": 0}, "points must be at least 1"),
        ({"settings": {"out": "x"}}, "out follows from"),
    ],
)
def test_bad_specifications_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CurveSpec(**{"task": "walker-walk", **changes})


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"format": 9, "rows": []}')
    with pytest.raises(DataError, match="format 1 required, found 9"):
        stored_rows(tmp_path / "x.json")
    with pytest.raises(DataError, match="published curves required"):
        load_published(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="each once"):
        Curves(seeds=(1, 1))
    assert read_curve(tmp_path / "absent.jsonl") == []


def test_command_rewrites_a_page_from_stored_rows(tmp_path, capsys):
    save_rows([row()], tmp_path / "dmc100k.json")
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n<!-- table: results -->\n<!-- end -->\n\nNothing else.\n")
    words = ["bench", "dmc100k", "--pages-only", "--out", str(tmp_path), "--page", str(page)]
    assert main([*words, "--published", str(PUBLISHED)]) == 0
    assert "| walker-walk | 300 | **300** |" in page.read_text()
    assert page.read_text().endswith("Nothing else.\n")
    assert "Interquartile mean over 1 runs" in capsys.readouterr().out
    assert (tmp_path / "images" / "dmc100k.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "zero"], "--seeds must be whole numbers"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--pages-only"], "--pages-only needs --page"),
        (["--pages-only", "--page", "x.md"], "at least one run required"),
    ],
)
def test_command_refuses_what_cannot_work(words, message, tmp_path, capsys):
    assert main(["bench", "dmc100k", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
