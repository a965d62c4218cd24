"""``aime-agent bench objects``: refusals, and the whole verb with a made-up agent."""

import json
import types
from types import SimpleNamespace

import pytest
import torch

from aime_agent.cli import bench_objects
from aime_agent.cli.main import main
from aime_agent.envs.make import make_env
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("bench objects", "either RUN or --task"),
        ("bench objects nowhere --task walker-walk", "either RUN or --task"),
        ("bench objects --task walker-walk --player agent", "--player agent needs a RUN"),
        ("bench objects --task walker-walk --picture a.png", "need a model: a RUN or --updates"),
        ("bench objects --task walker-walk --set slot_every=4", "need a model: a RUN or --updates"),
        ("bench objects --task walker-walk --updates -1", "--updates must be at least 0, found -1"),
        ("bench objects nowhere --updates 3", "--updates and --set are for --task"),
        ("bench objects --task walker-wolk", "walker-walk"),
        ("bench objects nowhere", "a run folder or a checkpoint of one required"),
    ],
)
def test_refusals_are_one_line(words, named, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


@pytest.fixture
def run(tmp_path, monkeypatch):
    torch.manual_seed(0)
    config = types.SimpleNamespace(
        task="cartpole-swingup", action_repeat=2, render_quality="minimal", seed=4
    )
    agent = SimpleNamespace(
        config=config,
        world_model=AimeWorldModel(preset("tiny", image_size=32, action_dim=1)),
        make_env=lambda: make_env("cartpole-swingup", image_size=32, render_quality="minimal"),
        predict=lambda observation, state=None, **_: (torch.zeros(1).numpy(), state),
    )
    monkeypatch.setattr(bench_objects, "load", lambda path, device: agent)
    monkeypatch.setattr("aime_agent.configs.config_hash", lambda config: "0123456789ab")
    return tmp_path


@pytest.mark.render
@pytest.mark.parametrize("player", ["random", "agent"])
def test_a_run_is_measured_printed_drawn_and_written(run, player, capsys):
    words = f"bench objects {run} --player {player} --episodes 2 --steps 6 --picture {run}/o.png"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "slot masks" in said
    assert "mass on the agent, attention" in said
    found = json.loads((run / f"evaluations/objects-cartpole-swingup-{player}-s0.json").read_text())
    assert (found["config_hash"], found["train_seed"]) == ("0123456789ab", 4)
    assert (found["episodes"], found["steps"], found["player"]) == (2, 6, player)
    assert {"map_ratio", "evidence_ratio", "ceiling_ratio"} <= set(found["attention"])
    assert (run / "o.png").stat().st_size > 0


@pytest.mark.render
def test_baselines_need_no_run(tmp_path, capsys):
    words = "bench objects --task cartpole-swingup --episodes 1 --steps 5 --image-size 32"
    assert main([*words.split(), "--out", str(tmp_path / "o.json")]) == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["attention"] == {}
    assert {f"truth at {n} x {n}" for n in (16, 21, 32)} <= set(found["levels"]["agent"])
    assert "config_hash" not in found
    assert "5 stripes" in capsys.readouterr().out


@pytest.mark.render
def test_a_fitted_model_is_measured_and_says_how_it_was_fitted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_objects, "FIT_EPISODES", 2)
    monkeypatch.setattr(bench_objects, "FIT_STEPS", 20)
    words = "bench objects --task cartpole-swingup --updates 1 --preset tiny --image-size 32"
    words += " --episodes 1 --steps 3 --set attention_target=change --set slots.map_power=2"
    assert main([*words.split(), "--out", str(tmp_path / "o.json")]) == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["fit"]["settings"] == {"attention_target": "change", "slots": {"map_power": 2}}
    assert (found["fit"]["updates"], found["fit"]["preset"]) == (1, "tiny")
    assert "slot masks" in found["levels"]["bodies"]
    assert "mass on the agent, attention" in capsys.readouterr().out
