import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from laws import assert_equal

from aime_agent.agents.aime import AimeAgent
from aime_agent.cli.main import main
from aime_agent.data.dataset import DatasetInfo, write_info
from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.splits import open_split
from aime_agent.data.storage import ShardStore
from aime_agent.errors import ConfigError, DataError
from aime_agent.training import checkpoint
from aime_agent.training.learning import Learning
from aime_agent.training.offline import OfflineConfig, held_out_losses
from aime_agent.training.pillars import pillar_report
from aime_agent.training.train_offline import held_out_batch, train_world_model
from aime_agent.world_model.model import AimeWorldModel

SMALL = {
    "preset": "tiny",
    "updates": 8,
    "batch_size": 2,
    "sequence_length": 5,
    "eval_every": 3,
    "eval_windows": 3,
    "checkpoint_every": 3,
    "log_every": 2,
    "tensorboard": False,
    "agent": {"actor_units": 8},
}


def make_episode(number, length=9, size=32):
    """A square that the first action moves to the right."""
    rng = np.random.default_rng(number)
    frames = np.zeros((length, size, size, 3), np.uint8)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    x = int(rng.integers(20))
    for t in range(length):
        frames[t, 8:16, x : x + 8] = (255, 80, 10 * (number % 20))
        x = int(np.clip(x + np.round(4 * actions[t, 0]), 0, size - 8))
    rewards = (frames[:, :, : size // 2].mean((1, 2, 3)) / 50).astype(np.float32)
    terminated = np.zeros(length, bool)
    rewards[0], actions[-1], terminated[-1] = 0, 0, number % 2
    return Episode(frames=frames, actions=actions, rewards=rewards, terminated=terminated)


def make_dataset(folder, numbers=range(10), size=32):
    replay = ReplayBuffer(ShardStore(folder, Layout((size, size, 3), 2, 64)))
    for number in numbers:
        replay.add_episode(0, make_episode(number, size=size))
    replay.store.sync()
    info = DatasetInfo(task="cartpole-swingup", policy="toy", image_size=size, action_repeat=4)
    write_info(folder, info, [])
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("offline") / "data")


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("offline") / "run"
    model = train_world_model(dataset, out=out, **SMALL)
    return out, model


def state(run):
    return AimeAgent.from_pretrained(run).state_dict()


def metrics(run):
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "clock"} for line in lines]


def test_result_is_loaded_as_agent_and_as_world_model(whole):
    out, model = whole
    agent = AimeAgent.from_pretrained(out)
    assert (agent.config.task, agent.config.action_repeat) == ("cartpole-swingup", 4)
    assert_equal(agent.world_model.state_dict(), model.state_dict())
    for path in (out, checkpoint.latest(out)):
        assert_equal(AimeWorldModel.from_pretrained(path).state_dict(), model.state_dict())


def test_lines_hold_training_and_held_out_losses(whole):
    lines = metrics(whole[0])
    assert [x["update"] for x in lines if x["kind"] == "train"] == [2, 4, 6, 8]
    held = [x for x in lines if x["kind"] == "held_out"]
    assert [x["update"] for x in held] == [3, 6, 8]
    assert held[-1]["total"] == pytest.approx(
        sum(v for k, v in held[-1].items() if k.startswith("task/")), rel=1e-6
    )
    assert all(np.isfinite(v) for x in held for k, v in x.items() if k.startswith("loss/"))


def test_only_the_world_model_learns(whole, dataset):
    one = state(whole[0])
    new = AimeAgent(AimeAgent.from_pretrained(whole[0]).config).state_dict()
    changed = {k.split(".")[0] for k in one if k not in new or not torch.equal(one[k], new[k])}
    assert changed == {"world_model", "learner"}


def test_same_seed_same_run_other_seed_other_run(whole, dataset, tmp_path):
    train_world_model(dataset, out=tmp_path / "a", **SMALL | {"eval_every": 0})
    assert_equal(state(tmp_path / "a"), state(whole[0]))
    train_world_model(dataset, out=tmp_path / "b", seed=1, **SMALL | {"updates": 1})
    assert checkpoint.load(checkpoint.latest(tmp_path / "b")).agent_config["spec"]["seed"] == 1
    one, other = (AimeWorldModel.from_pretrained(r) for r in (tmp_path / "b", whole[0]))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_whole(whole, dataset, tmp_path, monkeypatch, number):
    original, calls = Learning.update, []

    def counted(self):
        calls.append(None)
        if len(calls) == 5:
            os.kill(os.getpid(), number)
        original(self)

    monkeypatch.setattr(Learning, "update", counted)
    with pytest.raises(KeyboardInterrupt, match="--resume --out"):
        train_world_model(dataset, out=tmp_path, **SMALL)
    assert checkpoint.latest(tmp_path).name == "step_000000005"
    monkeypatch.undo()
    train_world_model(out=tmp_path, resume=True)
    assert_equal(state(tmp_path), state(whole[0]))
    assert metrics(tmp_path) == metrics(whole[0])


def test_held_out_episodes_never_reach_the_weights(whole, dataset, tmp_path):
    held = {s.number for s in open_split(dataset).held_out.spans}
    other = make_dataset(tmp_path / "other", [k + 1000 * (k in held) for k in range(10)])
    train_world_model(other, out=tmp_path / "run", **SMALL)
    assert_equal(state(tmp_path / "run"), state(whole[0]))
    losses = [
        [x for x in metrics(r) if x["kind"] == "held_out"] for r in (tmp_path / "run", whole[0])
    ]
    assert losses[0] != losses[1]


def test_episodes_added_later_change_nothing_of_a_resumed_run(whole, tmp_path):
    data = make_dataset(tmp_path / "data")
    train_world_model(data, out=tmp_path / "run", **SMALL | {"updates": 4})
    shutil.rmtree(data)
    make_dataset(data, range(25))
    train_world_model(out=tmp_path / "run", resume=True, updates=8)
    assert_equal(state(tmp_path / "run"), state(whole[0]))
    shutil.rmtree(data)
    make_dataset(data, range(5))
    with pytest.raises(DataError, match="of them are missing, the first is EpisodeSpan"):
        train_world_model(out=tmp_path / "run", resume=True, updates=9)


def test_measuring_is_repeatable_and_disturbs_nothing(whole, dataset):
    agent = AimeAgent.from_pretrained(whole[0])
    before, noise = agent.state_dict(), torch.get_rng_state()
    before = {k: v.clone() for k, v in before.items()}
    config = OfflineConfig(dataset=str(dataset), **SMALL)
    held = open_split(dataset).held_out
    one, two = (held_out_losses(agent, held, config) for _ in range(2))
    assert one == two
    assert_equal(agent.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), noise)


def test_held_out_loss_falls(dataset, tmp_path):
    settings = SMALL | {"updates": 40, "eval_every": 10, "batch_size": 4, "log_every": 40}
    train_world_model(dataset, out=tmp_path, **settings)
    totals = [x["loss/reconstruction"] for x in metrics(tmp_path) if x["kind"] == "held_out"]
    assert totals[-1] < 0.8 * totals[0]


def test_settings_reach_model_and_optimiser(dataset, tmp_path):
    settings = {
        "world_model": {"max_components": 1, "latent_dim": 5, "weights": {"reward": 10.0}},
        "agent": {"actor_units": 8, "learning_rate": 3e-4},
    }
    train_world_model(dataset, out=tmp_path, **SMALL | {"updates": 1} | settings)
    spec = AimeAgent.from_pretrained(tmp_path).config
    assert (spec.world_model.max_components, spec.world_model.latent_dim) == (1, 5)
    assert (spec.world_model.weights.reward, spec.agent.learning_rate) == (10.0, 3e-4)


def test_doctor_examines_held_out_episodes(whole, dataset, capsys):
    batch = held_out_batch(whole[0], 3, 8, seed=0)
    known = {e.frames.tobytes() for e in open_split(dataset).held_out}
    frames = batch.observations.permute(0, 1, 3, 4, 2).numpy()
    assert all(any(f.tobytes() in k for k in known) for w in frames for f in w)
    rows = pillar_report(whole[0], windows=3, length=8)
    assert rows[0][0] == "held-out loss"
    assert len(rows) > 4


def test_without_its_dataset_a_run_has_no_held_out_batch(whole, tmp_path, caplog):
    run = shutil.copytree(whole[0], tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"dataset": str(tmp_path / "gone")}))
    assert held_out_batch(run, 3, 8, seed=0) is None
    assert "no such dataset folder" in caplog.text


def test_a_runs_replay_is_a_dataset(toy, tmp_path):
    from aime_agent.training.train import train

    settings = toy.SETTINGS | {"frames": 160}
    train("toy", out=tmp_path / "toy", factories=toy.FACTORIES, **settings)
    train_world_model(tmp_path / "toy", out=tmp_path / "run", **SMALL | {"updates": 1})
    assert AimeAgent.from_pretrained(tmp_path / "run").config.task == "toy"


def test_the_command_trains_goes_on_and_refuses(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"train {dataset} --world-model-only --preset tiny --out run --set batch_size=2"
    more = " --set sequence_length=5 --set tensorboard=false --set eval_windows=2"
    assert (
        main([*(words + more).split(), "--updates", "2", "--set", "world_model.max_components=1"])
        == 0
    )
    assert (
        main(
            [
                "train",
                str(dataset),
                "--world-model-only",
                "--out",
                "run",
                "--resume",
                "--updates",
                "3",
            ]
        )
        == 0
    )
    assert checkpoint.names(tmp_path / "run")[0].name == "step_000000003"
    assert capsys.readouterr().out.splitlines()[-1] == "world model in run"
    assert AimeAgent.from_pretrained("run").config.world_model.max_components == 1
    assert main(["doctor", "run"]) in (0, 1)
    assert "held-out loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("DATA --world-model-only --frames 9", "--frames means nothing"),
        ("DATA", "is a stored dataset; --world-model-only trains"),
        ("walker-walk --updates 9", "--updates needs --world-model-only"),
        ("walker-walk --world-model-only", "walker-walk: no such dataset folder"),
        ("DATA --world-model-only --set bach_size=2", "'batch_size'"),
        ("DATA --world-model-only --updates 0", "updates must be an integer of at least 1"),
        ("DATA --world-model-only --held-out 0.7", "held_out must lie between"),
        ("DATA --world-model-only --set world_model.action_dim=3", "action_dim must be 2 as in"),
        ("DATA --world-model-only --set world_model.latent=3", "latent_dim"),
        ("DATA --world-model-only --preset tiny --set sequence_length=900", "900 rows in a stream"),
        ("DATA --world-model-only --out run --resume", "found no config.json"),
    ],
)
def test_requests_that_cannot_be_met(dataset, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.replace("DATA", str(dataset)).split()]) == 2
    err = capsys.readouterr().err.splitlines()
    assert said in err[-1]
    assert not list(tmp_path.iterdir())


def test_datasets_that_no_model_takes(tmp_path):
    few = make_dataset(tmp_path / "few", range(2))
    with pytest.raises(DataError, match="at least 5 complete episodes"):
        train_world_model(few, out=tmp_path / "run", **SMALL)
    small = make_dataset(tmp_path / "small", size=28)
    with pytest.raises(DataError, match="at least 32 × 32"):
        train_world_model(small, out=tmp_path / "run", **SMALL)
    (small / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="no readable manifest"):
        train_world_model(small, out=tmp_path / "run", **SMALL)
    with pytest.raises(ConfigError, match="dataset must be given"):
        train_world_model(out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_episodes_of_the_same_lengths_are_not_mistaken_for_the_first(whole, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    moved = make_dataset(tmp_path / "moved")
    other = make_dataset(tmp_path / "other", [*range(9), 19])
    train_world_model(moved, out=run, resume=True, updates=9)
    with pytest.raises(DataError, match=r"other: the episodes .* found others of the same lengths"):
        train_world_model(other, out=run, resume=True, updates=10)


def test_another_dataset_cannot_be_resumed_with(whole, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    replay = ReplayBuffer(ShardStore(tmp_path / "d", Layout((32, 32, 3), 3, 64)))
    for number in range(10):
        old = make_episode(number)
        actions = np.concatenate([old.actions, old.actions[:, :1]], axis=1)
        replay.add_episode(
            0,
            Episode(
                frames=old.frames, actions=actions, rewards=old.rewards, terminated=old.terminated
            ),
        )
    replay.store.sync()
    with pytest.raises(DataError, match="found others of the same lengths"):
        train_world_model(tmp_path / "d", out=run, resume=True, updates=9)
