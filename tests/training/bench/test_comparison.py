"""The whole comparison on made-up episodes: jobs, files, pictures, page; started again, it rests."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aime_agent.cli.main import main
from aime_agent.errors import ConfigError, DataError
from aime_agent.training.bench import comparison
from aime_agent.training.bench.comparison import (
    RESULTS,
    Comparison,
    compare,
    load_results,
    publish,
)
from aime_agent.training.bench.pictures import Strip, compose, plot_curves
from aime_agent.training.panels import BACKGROUND

SMALL = Comparison(
    tasks=("squares",), arms="default,rssm", preset="tiny", updates=1, evaluations=1,
    train_episodes=4, held_out_episodes=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def home(spec, tmp_path_factory):
    """A finished comparison on the made-up episodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "ensure", lambda folder, config: Path(spec.data))
        out = tmp_path_factory.mktemp("bench")
        assert compare(SMALL, out, jobs=2) == []
        ended = []
        assert compare(SMALL, out, jobs=2, report=ended.append) == []
        assert ended == []
    return out


def test_results_come_back(home):
    results = load_results(home / RESULTS)
    assert [r["arm"]["name"] for r in results] == ["default", "rssm"]
    assert results[0]["spec"]["data"] == "squares.npz"
    assert "training" in results[0]
    assert "training" not in results[0]["curve"][0]


def test_page_is_rewritten_and_pictures_are_copied(home, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Top\n\n<!-- table: claims -->\n<!-- end -->\n")
    words = ["bench", "world-model", "--pages-only", "--out", str(home), "--page", str(page)]
    assert main(words) == 0
    assert "| squares | beats the last seen frame" in page.read_text()
    before = page.read_text()
    publish(home / RESULTS, page)
    assert page.read_text() == before
    assert (tmp_path / "images" / "page-strip-squares-0.png").exists()


def test_strip_has_the_real_frames_above_the_dreams(home):
    with Image.open(home / "strip-squares-0.png") as picture:
        width, height = picture.size
    assert height > 5 * 64
    assert width > 11 * 64


def test_strip_shows_its_frames_and_leaves_blanks():
    white = np.full((8, 8, 3), 255, np.uint8)
    drawn = np.asarray(compose(["a", "b"], [Strip("x", [None, white], True)], scale=4))
    assert (drawn[-10, -10] == 255).all()
    blank = drawn[-20, drawn.shape[1] - 60]
    assert tuple(blank) == BACKGROUND


def test_curves_are_drawn(home, tmp_path):
    pytest.importorskip("matplotlib")
    plot_curves(load_results(home / RESULTS), "squares", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 1


def test_jobs_are_arms_by_tasks_by_seeds():
    plan = Comparison(tasks=("a", "b"), arms="default,rssm", seeds=2)
    jobs = plan.jobs({"a": Path("a.npz"), "b": Path("b.npz")})
    assert len({j.name for j in jobs}) == 8
    assert [j.seed for j in jobs] == [0] * 4 + [1] * 4
    assert jobs[0].held_out == pytest.approx(0.2)


def test_damaged_results_are_refused(tmp_path):
    path = tmp_path / "x.json"
    for text in ("", json.dumps({"format": 99, "results": []})):
        path.write_text(text)
        with pytest.raises(DataError, match=r"x\.json"):
            load_results(path)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--arms", "defualt"], "unknown arm 'defualt'"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--pages-only"], "--page"),
        (["--seeds", "0"], "seeds must be at least 1"),
    ],
)
def test_command_refuses_in_one_line(words, text, capsys):
    assert main(["bench", "world-model", *words]) == 2
    assert text in capsys.readouterr().err


def test_other_subjects_are_refused(capsys):
    assert main(["bench", "agents"]) == 2
    assert "unknown verb 'bench agents'" in capsys.readouterr().err


def test_comparison_names_bad_settings():
    with pytest.raises(ConfigError, match=r"Comparison\.held_out_episodes"):
        Comparison(held_out_episodes=0)
