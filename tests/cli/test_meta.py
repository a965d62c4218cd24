"""``aime-agent meta train`` and ``meta adapt``."""

import json

import pytest

from aime_agent.cli.main import main

SMALL = ("--set", "support_episodes=2", "--set", "query_episodes=2", "--set", "max_episode_steps=5")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("meta") / "nav"
    words = ("meta", "train", "navigation2d", "--preset", "smoke", "--out", str(home), *SMALL)
    assert main(words) == 0
    return home


def test_training_goes_on_only_when_asked(run, capsys):
    assert main(["meta", "train", "navigation2d", "--preset", "smoke", "--out", str(run)]) == 2
    assert "add --resume" in capsys.readouterr().err
    words = ["meta", "train", "navigation2d", "--preset", "smoke", "--out", str(run), *SMALL]
    assert main([*words, "--iterations", "3", "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "going on from" in shown
    assert "iteration 3" in shown
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_adaptation_is_printed_and_written(run, capsys, tmp_path):
    out = tmp_path / "adapted.json"
    words = ["meta", "adapt", str(run), "--tasks", "2", "--steps", "2", "--scratch"]
    assert main([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "2 steps" in shown
    assert "untrained" in shown
    found = json.loads(out.read_text())
    assert found["family"] == "navigation2d"
    assert len(found["curves"]["meta-trained"]["returns"]) == 2
    assert len(found["curves"]["untrained"]["returns"][0]) == 3
    assert found["curves"]["meta-trained"]["env_steps"] == 2 * 3 * 2 * 5
    assert found["config"]["adaptation_steps"] == 2


def test_a_law_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("aime_agent.meta.named._MADE_UP", 12)
    home = tmp_path / "laws"
    words = ("meta", "train", "laws", "--preset", "smoke", "--out", str(home), "--iterations", "1")
    assert main([*words, *SMALL]) == 0
    assert main(["meta", "adapt", str(home), "--task", "ideal_gas", "--steps", "0"]) == 0
    assert json.loads((home / "adaptation-s0.json").read_text())["tasks"] == ["ideal_gas"]
    capsys.readouterr()
    assert main(["meta", "adapt", str(home), "--task", "ideal_gass"]) == 2
    assert "Did you mean 'ideal_gas'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["navigation3d"], "Did you mean 'navigation2d'"),
        (["laws", "--preset", "big"], "no preset is named 'big'"),
        (["laws", "--set", "fusion_type=atention"], "Did you mean 'attention'"),
        (["laws", "--set", "adaption_lr=1"], "adaptation_lr"),
    ],
)
def test_wrong_words_are_named(words, message, capsys, tmp_path):
    assert main(["meta", "train", *words, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err


def test_goals_have_no_names_to_choose_by(run, capsys):
    assert main(["meta", "adapt", str(run), "--task", "home"]) == 2
    assert "leave --task out" in capsys.readouterr().err
    assert main(["meta", "adapt", str(run / "nothing")]) == 2
    assert "checkpoint_N required" in capsys.readouterr().err
