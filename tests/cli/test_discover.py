"""``aime-agent meta discover``: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from aime_agent.cli.discover import SEARCHERS
from aime_agent.cli.main import main
from aime_agent.meta.discover import METHODS


def test_the_help_names_the_methods_there_are():
    assert SEARCHERS == METHODS


def test_a_law_is_found_printed_and_written(tmp_path, capsys):
    out, picture = tmp_path / "a" / "law.json", tmp_path / "b" / "law.png"
    words = ["meta", "discover", "feynman_I.12.1", "--evaluations", "1000", "--method", "random"]
    assert main([*words, "--seed", "3", "--out", str(out), "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("feynman_I.12.1: F = Nn*mu\n")
    assert "the true law    yes (the difference simplifies to 0)" in shown
    stored = json.loads(out.read_text())
    assert (stored["seed"], stored["recovered"], stored["config"]["method"]) == (3, True, "random")
    colours = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 5


def test_a_table_of_ones_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).uniform(0.5, 2, (20, 2))
    text = "\n".join(f"{a},{b},{a + b}" for a, b in rows)
    (tmp_path / "own.csv").write_text(f"a,b,y\n{text}\n")
    words = ["meta", "discover", "own.csv", "--max-nodes", "3", "--max-constants", "0"]
    assert main([*words, "--evaluations", "500", "--method", "random"]) == 0
    assert "own: y = a + b" in capsys.readouterr().out
    assert (tmp_path / "runs" / "discover" / "own-random-s0.json").exists()


def test_a_law_that_is_not_found_is_said_so(tmp_path, capsys):
    words = ["meta", "discover", "nguyen_12", "--evaluations", "20", "--method", "random"]
    assert main([*words, "--out", str(tmp_path / "x.json")]) == 0
    shown = capsys.readouterr().out
    assert "the true law    no" in shown
    assert "true is         x**4 - x**3 + y**2/2 - y" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["keplr_orbit"], "'kepler_orbit'"),
        (["kepler", "--method", "genetic"], "risk-seeking"),
        (["kepler", "--evaluations", "0"], "evaluations must be at least 1"),
        (["none.csv"], "none.csv"),
        (["kepler", "--measured"], "cannot be measured"),
        (["own.csv", "--noise"], "--noise is for tasks"),
        (["kepler", "--unit"], "--no-units"),
    ],
)
def test_wrong_requests_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["meta", "discover", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
