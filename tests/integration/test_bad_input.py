"""Requests that cannot be met, with nothing replaced: one clear line, exit code 2."""

import os
import re
import subprocess
import sys

import pytest

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.presets import agent_preset
from aime_agent.cli.main import main
from aime_agent.data.saved import Checkpoint, names
from aime_agent.training import checkpoint
from aime_agent.training.collector import VectorLane
from aime_agent.world_model.presets import preset

WORDS = (
    "train cartpole-swingup --preset tiny --image-size 32 --frames 60 --checkpoint-every 40 "
    "--eval-episodes 0 --set prefill_frames=40 --set sequence_length=5 --set pretrain_updates=0 "
    "--set train_every=100 --set tensorboard=false --out"
)


def make_agent(action_dim):
    world = preset("tiny", action_dim=action_dim, image_size=32)
    return AimeAgent(
        AgentSpec(
            task="cartpole-swingup",
            preset="tiny",
            image_size=32,
            render_quality="minimal",
            world_model=world,
            agent=agent_preset("tiny", actor_units=8),
        )
    )


def save(run, agent, step, config):
    content = Checkpoint(agent.state_dict(), {}, config, {})
    checkpoint.save(run / "checkpoints" / f"step_{step:09d}", content)


@pytest.fixture
def run(tmp_path):
    """A run folder with two checkpoints of an agent for one action."""
    agent, run = make_agent(1), tmp_path / "run"
    for step in (10, 20):
        save(run, agent, step, agent.config_dict())
    (run / "config.json").write_text("{}")
    return run


def refused(capsys, words):
    assert main(words) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("aime-agent: ")
    return err[-1]


def refuse_eval(capsys, run):
    return refused(capsys, ["eval", str(run), "--episodes", "1", "--max-steps", "2"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train walker-wlk", "'walker-walk'"),
        ("train walker-walk --preset smal", "'small'"),
        ("train walker-walk --fames 100", "'--frames'"),
        ("train walker-walk --set bach_size=3", "'batch_size'"),
        ("train walker-walk --image-size 31", "image_size.* at least 32, found 31"),
        ("train walker-walk --frames 0", "frames.* at least 1, found 0"),
        ("train Nowhere/Env-v0", "unknown to Gymnasium.*Nowhere"),
        ("train CartPole-v1", "must be pictures.*AddRenderObservation"),
    ],
)
def test_unknown_words_and_bad_values(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert re.search(said, refused(capsys, words.split()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_every_checkpoint_damaged(capsys, run, harm):
    for folder in names(run):
        path = folder / "agent.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes({"cut": data[:100], "flip": data, "empty": b""}[harm])
    line = refuse_eval(capsys, run)
    assert "agent.safetensors is" in line
    assert "step_000000010" in line


@pytest.mark.render
def test_one_checkpoint_damaged_falls_back_and_says_so(capsys, caplog, run):
    (names(run)[0] / "agent.safetensors").write_bytes(b"no tensors")
    assert main(["eval", str(run), "--episodes", "1", "--max-steps", "2"]) == 0
    assert "step_000000020: agent.safetensors is truncated" in caplog.text
    assert "falling back to the previous checkpoint" in caplog.text
    assert "mean return" in capsys.readouterr().out


def test_a_foreign_checkpoint(capsys, run):
    agent = make_agent(1)
    save(run, agent, 30, agent.config_dict() | {"kind": "Dreamer"})
    assert "an AimeAgent required, found 'Dreamer'" in refuse_eval(capsys, run)
    for folder in names(run):
        (folder / "files.json").write_text('{"format": "other"}')
    assert "foreign" in refuse_eval(capsys, run)


def test_a_checkpoint_of_another_action_size(capsys, run):
    save(run, make_agent(6), 30, make_agent(1).config_dict())
    line = refuse_eval(capsys, run)
    assert "another agent than cartpole-swingup with 1 actions: size mismatch" in line


@pytest.mark.render
def test_an_agent_whose_task_now_takes_other_actions(capsys, run):
    agent = make_agent(6)
    save(run, agent, 30, agent.config_dict())
    assert "action must have shape (1,), found (6,)" in refuse_eval(capsys, run)


@pytest.mark.render
def test_a_full_disk_stops_and_keeps_the_old_checkpoint(capsys, tmp_path, monkeypatch):
    from aime_agent.envs.make import make_vector

    def lane(config, env):
        settings = {"image_size": 32, "in_process": True, "render_quality": "minimal"}
        return VectorLane(make_vector(config.task, 1, autoreset_mode="Disabled", **settings))

    def write(path, data):
        if "step_000000060" in str(path):
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("aime_agent.training.parts.task_lane", lane)
    monkeypatch.setattr(checkpoint, "write_bytes", write)
    line = refused(capsys, [*WORDS.split(), str(tmp_path / "run")])
    assert "the disk is full" in line
    assert "--resume" in line
    kept = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert kept == ["step_000000040"]
    monkeypatch.setattr(checkpoint, "write_bytes", lambda path, data: path.write_bytes(data))
    assert main([*WORDS.split(), str(tmp_path / "run"), "--resume"]) == 0
    assert names(tmp_path / "run")[0].name == "step_000000060"


def test_no_opengl(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "aime_agent.cli.main", *WORDS.split(), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MUJOCO_GL": "disabled"},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "needs OpenGL, and none was found" in done.stderr
    assert "apt-get install" in done.stderr
    assert not list(tmp_path.iterdir())
