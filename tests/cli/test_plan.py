"""``aime-agent plan`` plays the planner beside actor and chance, and keeps what it found."""

import json

import pytest

from aime_agent.agents.aime import AimeAgent
from aime_agent.cli.main import main
from aime_agent.data.saved import Checkpoint
from aime_agent.training import checkpoint
from aime_agent.training.config import TrainConfig

SMALL = ["--samples", "8", "--horizon", "2", "--iterations", "2", "--max-steps", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with an untrained agent for cartpole-balance."""
    folder = tmp_path_factory.mktemp("plan") / "run"
    config = TrainConfig(
        task="cartpole-balance", preset="tiny", image_size=32, render_quality="fast"
    )
    agent = AimeAgent.create(config, 1)
    content = Checkpoint(agent.state_dict(), {}, agent.config_dict(), {})
    checkpoint.save(folder / "checkpoints" / "step_000000010", content)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("planner", ["mppi", "cem"])
def test_scores_are_printed_and_written(run, capsys, planner):
    assert main(["plan", str(run), "--planner", planner, "--episodes", "2", *SMALL]) == 0
    said = capsys.readouterr().out
    for name in (planner, "actor alone", "random actions"):
        assert f"{name}: episode 2 of 2, return" in said
    found = json.loads((run / "evaluations" / f"{planner}-s0.json").read_text())
    assert found["planner"]["method"] == planner
    assert found["lengths"] == [3, 3]
    assert {k: len(v) for k, v in found["beside"].items()} == {
        "actor alone": 2,
        "random actions": 2,
    }
    assert found["versions"]["torch"]


def test_the_planner_may_play_alone_and_repeats_itself(run, tmp_path, capsys):
    words = ["plan", str(run), "--episodes", "1", "--alone", "--no-value", *SMALL]
    for name in ("a", "b"):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    assert "actor alone" not in capsys.readouterr().out
    a, b = (json.loads((tmp_path / name).read_text()) for name in "ab")
    assert a["returns"] == b["returns"]
    assert a["planner"]["terminal_value"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--planner", "mpc"], "mppi"),
        (["--samples", "0"], "PlannerConfig.samples must be at least 1"),
        (["--actor-share", "2"], "actor_share"),
    ],
)
def test_settings_that_cannot_work_are_refused(run, capsys, words, message):
    assert main(["plan", str(run), *words]) == 2
    assert message in capsys.readouterr().err
