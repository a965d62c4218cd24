"""From a task to a dataset to a world model, with nothing replaced."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from aime_agent.agents.aime import AimeAgent
from aime_agent.cli.main import main
from aime_agent.data.dataset import read_info, read_records
from aime_agent.data.splits import open_split

WORLD = "--image-size 32 --action-repeat 100 --render-quality minimal"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets") / "data"
    words = f"collect cartpole-swingup {WORLD} --episodes 6 --num-envs 2 --out {folder}"
    assert main(words.split()) == 0
    return folder


@pytest.fixture(scope="module")
def run(dataset):
    out = dataset.parent / "run"
    words = f"train {dataset} --world-model-only --preset tiny --updates 2 --out {out}"
    more = "--set sequence_length=5 --set batch_size=2 --set eval_windows=2 --set tensorboard=false"
    assert main([*words.split(), *more.split()]) == 0
    return out


@pytest.mark.render
def test_collected_episodes_are_whole(dataset):
    records = read_records(dataset)
    assert [(r.env, r.number, r.length) for r in records] == [
        (i, k, 11) for i in range(2) for k in range(3)
    ]
    info = read_info(dataset)
    assert (info.task, info.action_repeat, info.render_quality) == (
        "cartpole-swingup",
        100,
        "minimal",
    )
    train, held = open_split(dataset)
    assert (len(train), len(held)) in ((5, 1), (4, 2))
    assert all(np.ptp(episode.frames) > 50 for episode in train)


@pytest.mark.render
def test_trained_model_is_examined_and_scored(run, capsys):
    assert main(["doctor", str(run)]) in (0, 1)
    assert "held-out loss" in capsys.readouterr().out
    assert main(["eval", str(run), "--episodes", "1"]) == 0


@pytest.mark.render
def test_a_trained_run_collects_in_its_own_world(run, tmp_path):
    words = f"collect cartpole-swingup --policy {run} --noise 0.2 --episodes 1 --out {tmp_path}/d"
    assert main(words.split()) == 0
    info = read_info(tmp_path / "d")
    assert (info.image_size, info.action_repeat, info.settings["noise"]) == (32, 100, 0.2)
    (episode,) = open_split(tmp_path / "d", held_out=0).train
    agent = AimeAgent.from_pretrained(run)
    first, _ = agent.predict(episode.frames[0])
    assert np.abs(episode.actions[0] - first).max() < 1.0
    assert episode.actions[:-1].std() > 0.05


@pytest.mark.render
def test_a_policy_on_states_collects_pixels(tmp_path):
    from stable_baselines3 import SAC

    import aime_agent
    from aime_agent.envs.make import make_env

    env = make_env("cartpole-swingup", observation="state", action_repeat=100)
    model = SAC("MlpPolicy", env, seed=0, buffer_size=10, device="cpu")
    model.save(tmp_path / "sac.zip")
    env.close()
    settings = {"image_size": 32, "action_repeat": 100, "episodes": 1}
    found = [
        aime_agent.collect("cartpole-swingup", policy=p, out=tmp_path / f"{i}", **settings, **more)
        for i, (p, more) in enumerate(
            ((model, {}), (str(tmp_path / "sac.zip"), {"trust_pickle": True}))
        )
    ]
    one, other = (open_split(folder, held_out=0).train[0] for folder in found)
    assert np.array_equal(one.actions, other.actions)
    assert np.array_equal(one.frames, other.frames)
    assert len(np.unique(one.actions[:-1])) > 5


@pytest.mark.render
def test_ctrl_c_leaves_a_valid_dataset_and_says_how_to_go_on(tmp_path):
    words = f"collect cartpole-swingup {WORLD} --episodes 100000 --out {tmp_path}/d"
    command = [sys.executable, "-m", "aime_agent.cli.main", *words.split()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("d/env000/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said.splitlines()[-1]
    records = json.loads((tmp_path / "d/dataset.json").read_text())["episodes"]
    assert len(open_split(tmp_path / "d", held_out=0).train) == len(records) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("collect cartpole-swngup --episodes 1", "'cartpole-swingup'"),
        ("collect cartpole-swingup", "either episodes or frames"),
        ("collect cartpole-swingup --episodes 1 --policy randm", "neither 'random', 'zero', a run"),
        ("collect cartpole-swingup --episodes 1 --policy x.zip", "no such file"),
        ("collect cartpole-swingup --episodes 1 --render-quality quick", "unknown 'quick'"),
        ("collect cartpole-swingup --episodes 1 --image-size 8", "image_size"),
        ("collect cartpole-swingup --episodes 1 --policy RUN --image-size 40", "[32, 32, 3]"),
        ("collect walker-walk --episodes 1 --policy RUN", "6 actions in [-1, 1] required"),
        ("collect cartpole-swingup --episodes 9 --image-size 40 --resume --out DATA", "must stay"),
        ("collect cartpole-swingup --episodes 9 --out DATA", "holds a dataset already"),
        ("collect cartpole-swingup --episodes 9 --out DATA --resume --seed 1", "seed must stay 0"),
        ("export nowhere --minari walker/random-v0", "no such dataset folder"),
        ("import walker/random-v0", "--out"),
    ],
)
@pytest.mark.render
def test_requests_that_cannot_be_met(dataset, run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    words = words.replace("RUN", str(run)).replace("DATA", str(dataset))
    if "export" in words:
        pytest.importorskip("minari", reason="the extra minari is not installed")
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
