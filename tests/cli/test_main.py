"""The command as a user meets it: exit codes, one line on stderr, files written."""

import json
import re
import subprocess
import sys
import types
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from aime_agent.cli import commands
from aime_agent.cli.main import main
from aime_agent.errors import CheckpointError, ConfigError


class FakeEnv(gym.Env):
    observation_space = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.left = 5
        return np.zeros((32, 32, 3), np.uint8), {}

    def step(self, action):
        self.left -= 1
        return np.zeros((32, 32, 3), np.uint8), float(action[0]), False, self.left == 0, {}


class FakeAgent:
    config = SimpleNamespace(task="walker-walk", action_repeat=2, render_quality="fast")

    def __init__(self, config=config, device="cpu"):
        self.config, self.device = config, device

    @classmethod
    def from_pretrained(cls, path, device="cpu"):
        return cls(device=device)

    def make_env(self, render_mode=None):
        return FakeEnv()

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.ones(2, np.float32), state


@pytest.fixture
def fakes(monkeypatch):
    """Replaces the modules that learn and load; returns what they were called with."""
    calls = {}

    def install(name, **members):
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    def train(task, **settings):
        calls["train"] = (task, settings)
        if "error" in calls:
            raise calls["error"]

    install("aime_agent.training.train", train=train)
    install("aime_agent.agents.aime", AimeAgent=FakeAgent)
    install("aime_agent.training.pillars", pillar_report=lambda run: calls["rows"])
    return calls


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "walker"
    (folder / "checkpoints" / "step_000001000").mkdir(parents=True)
    return folder


def refused(capsys, words):
    """Runs a command that must fail and returns its line."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("aime-agent: ")
    return err


def test_train_passes_on_only_what_was_typed(fakes):
    words = "train walker-walk --frames 9000 --render-quality=fast --set batch_size=4"
    assert main(words.split()) == 0
    wanted = {"resume": False, "frames": 9000, "render_quality": "fast", "batch_size": 4}
    assert fakes["train"] == ("walker-walk", wanted)


def test_resume_keeps_the_runs_settings(fakes):
    assert main(["train", "walker-walk", "--out", "runs/a", "--resume"]) == 0
    assert fakes["train"] == ("walker-walk", {"resume": True, "out": "runs/a"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train walker-wlk", "'walker-walk'"),
        ("train walker-walk --preset smal", "'small'"),
        ("train walker-walk --frame 1", "'--frames'"),
        ("train walker-walk --set bach_size=1", "'batch_size'"),
        ("train walker-walk --frames 1 --set frames=2", "twice.*frames"),
        ("train walker-walk --device gpu", "cpu, cuda or cuda:N, found 'gpu'"),
        ("train walker-walk --device meta", "found 'meta'"),
        ("trian walker-walk", "'train'"),
        ("record RUN --out film.avi", r"\.mp4 or \.gif"),
        ("record RUN --layout overly", "'overlay'"),
        ("record RUN --other random", "layout compare"),
        ("record RUN --inside-dream", "overlay"),
        ("record RUN --planner mpi", "'mppi'"),
        ("record RUN --planner cem --policy random", "exclude"),
        ("record RUN --policy nobody", "nobody"),
        ("record RUN --layout futures --samples 9", r"samples must be in 1\.\.5, found 9"),
        ("record-all", "found none"),
        ("record-all --tasks walker-walk", "--train-frames"),
        ("record-all RUN --layouts dream,film", "'film'"),
        ("record RUN --sheet sheet.jpg", r"\.png"),
        ("record RUN --scale 0", "scale"),
        ("eval RUN --episodes 0", "episodes"),
        ("eval runs/nowhere", "no such run"),
    ],
)
def test_bad_words_give_one_line_and_code_2(fakes, run, capsys, words, said):
    line = refused(capsys, words.replace("RUN", str(run)).split())
    assert re.search(said, line)
    assert "train" not in fakes


def test_small_images_are_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, ["train", "walker-walk", "--image-size", "16"])
    assert "image_size" in line
    assert "32" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [CheckpointError("damaged\nfile"), OSError(28, "No space left")])
def test_errors_of_the_work_are_one_line(fakes, capsys, error):
    fakes["error"] = error
    refused(capsys, ["train", "walker-walk"])


def test_bugs_are_not_hidden(fakes):
    fakes["error"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["train", "walker-walk"])


def test_ctrl_c_ends_with_130_and_the_command_that_goes_on(fakes, capsys):
    fakes["error"] = KeyboardInterrupt()
    assert main(["train", "walker-walk", "--out", "runs/a", "--resume"]) == 130
    err = capsys.readouterr().err
    assert "aime-agent train walker-walk --out runs/a --resume\n" in err
    assert err.count("\n") == 1


def test_missing_run_names_its_neighbours(run, capsys):
    assert "runs/walker'" in refused(capsys, ["eval", str(run) + "s"])


def test_gymnasium_ids_are_not_looked_up_in_the_suite():
    commands.check_task("ALE/Pong-v5")
    with pytest.raises(ConfigError, match="humanoid-walk"):
        commands.check_task("humanoid-wlk")


@pytest.mark.parametrize("policy", ["agent", "random", "zero", "untrained"])
def test_eval_writes_and_prints_the_score(fakes, run, capsys, policy):
    assert main(["eval", str(run), "--episodes", "3", "--policy", policy]) == 0
    found = json.loads((run / "evaluations" / f"{policy}-s0.json").read_text())
    assert (found["episodes"], found["frames"], found["render_quality"]) == (3, 30, "fast")
    assert (found["mean"] == 5.0) == (policy in ("agent", "untrained"))
    out = capsys.readouterr().out
    assert f"mean return {found['mean']:.1f}" in out
    assert "render quality fast" in out


def test_a_checkpoints_results_go_to_its_run(run):
    assert commands.run_home(str(run / "checkpoints" / "step_000001000")) == run
    assert commands.run_home(str(run)) == run


def test_record_hands_its_options_to_the_film(fakes, run, monkeypatch):
    seen = []
    monkeypatch.setattr("aime_agent.training.video.record", lambda *a, **k: seen.append((a, k)))
    assert main(["record", str(run), "--mark", "7", "--steps", "30"]) == 0
    (_, path, config), kw = seen[0]
    assert path == run / "videos" / "episode-s0.mp4"
    assert (config.mark, config.steps, kw["sheet"], kw["policy"]) == (7, 30, None, None)


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_doctor_prints_cures_and_tells_by_its_code(fakes, run, capsys, ok, code):
    fakes["rows"] = [("slots", "4 of 4 used", True, ""), ("codebook", "3 codes", ok, "raise x")]
    assert main(["doctor", str(run)]) == code
    assert ("-> raise x" in capsys.readouterr().out) is not ok


def test_doctor_examines_the_machine(monkeypatch, capsys):
    rows = [("OpenGL", "none", False, "apt-get install -y libegl1 libgl1")]
    monkeypatch.setattr("aime_agent.envs.diagnostics.environment_report", lambda: rows)
    assert main(["doctor"]) == 1
    assert "apt-get install -y libegl1 libgl1" in capsys.readouterr().out


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("aime-agent 0.")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from aime_agent.cli.main import main; assert main(['train', '--help']) == 0;"
        "heavy = {'torch', 'mujoco', 'dm_control', 'imageio', 'PIL'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
