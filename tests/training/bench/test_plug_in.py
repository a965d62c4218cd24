"""Arms at equal real frames: what each learns from, that it plays, and that its row says so."""

import json
import os
import shlex
import shutil
from dataclasses import asdict, replace

import pytest

import aime_agent
from aime_agent.cli.main import main
from aime_agent.training.bench import arm
from aime_agent.training.bench.arm_spec import ARMS, ArmSpec
from aime_agent.training.bench.curve import note_commit
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.plug_in import PlugIn, compare, find_world, rows
from aime_agent.training.bench.plug_in_report import report_tables
from aime_agent.training.bench.rows import save_rows, stored_rows

TASK, FRAMES = "cartpole-balance", 1_200
SETTINGS = {
    "action_repeat": 50, "image_size": 36, "prefill_frames": 300, "sequence_length": 4,
    "batch_size": 2, "pretrain_updates": 1, "train_every": 50, "tensorboard": False,
    "agent": {"dream_starts": 4, "horizon": 2},
}  # fmt: skip
TINY = {"preset": "tiny", "render_quality": "minimal", "frames": FRAMES, "settings": SETTINGS}
DREAMS = {"num_starts": 4, "context": 3, "horizon": 4, "num_envs": 4}


def tiny(name, **changes):
    return ArmSpec(**{"arm": name, "task": TASK, "episodes": 2, "sb3": DREAMS} | TINY | changes)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Runs of half of the frames and of all of them."""
    home = tmp_path_factory.mktemp("worlds")
    for frames in (FRAMES // 2, FRAMES):
        aime_agent.train(
            TASK, preset="tiny", render_quality="minimal", frames=frames, eval_episodes=0,
            out=home / f"f{frames}" / "run", **SETTINGS,
        )  # fmt: skip
    return home


def test_every_arm_has_all_frames_and_no_more():
    found = {name: (s.world_frames, s.own_frames) for name in ARMS for s in [tiny(name)]}
    assert found == {
        "random": (0, 0),
        "sac-pixels": (0, 1200),
        "agent": (1200, 0),
        "mppi": (1200, 0),
        "sac-beliefs": (600, 600),
        "sac-beliefs-slots": (600, 600),
        "ppo-dream": (1200, 0),
    }


def test_stable_baselines_trains_on_what_the_arm_says():
    half = tiny("sac-beliefs-slots", world="w", sb3={}).sb3_config("out")
    assert (half.algo, half.features, half.frames) == ("sb3-sac", "slots", 600)
    assert (half.action_repeat, half.image_size, half.render_quality) == (50, 36, "minimal")
    dream = tiny("ppo-dream", world="w", dream_frames=7_000).sb3_config("out")
    assert (dream.inside_dream, dream.frames, dream.horizon) == (True, 7_000, 4)
    assert tiny("agent").sb3_config("out") is None


SB3 = {
    "sac-pixels": {"sb3": {"batch_size": 4}},
    "sac-beliefs": {"sb3": {"batch_size": 4}},
    "sac-beliefs-slots": {"sb3": {"batch_size": 4}},
    "ppo-dream": DREAMS | {"sb3": {"n_steps": 8, "batch_size": 8}},
}


@pytest.mark.render
@pytest.mark.parametrize("name", ARMS)
def test_an_arm_trains_plays_and_says_what_it_cost(name, worlds, tmp_path):
    spec = tiny(name, dream_frames=3_200, sb3=SB3.get(name, {}))
    if spec.world_frames:
        spec = replace(spec, world=str(find_world(spec.world_config, worlds)))
    found = arm.run(spec, tmp_path)
    assert found == json.loads((tmp_path / RESULT).read_text())
    assert found["real_frames"] == {"world": spec.world_frames, "own": spec.own_frames}
    assert found["return"] == pytest.approx(sum(found["returns"]) / 2)
    assert found["lengths"] == [20, 20]
    assert (found["parameters"] > 0) == (name != "random")
    assert (found["world"] is None) == (spec.world == "")
    assert (found["dream_per_1000_frames"] is None) == (name != "ppo-dream")
    assert found["evaluation"]["cpu_seconds"] > 0
    assert "stable-baselines3" in found["versions"]
    if spec.sb3_config(""):  # what has been trained is not trained again, and still counts
        again = arm.run(spec, tmp_path)
        assert again["returns"] == found["returns"]
        assert again["training"]["cpu_seconds"] > found["training"]["cpu_seconds"]


def test_a_world_is_taken_only_if_it_was_trained_so(worlds, tmp_path):
    wanted = tiny("agent").world_config
    assert find_world(wanted, worlds) == worlds / f"f{FRAMES}" / "run"
    assert find_world(replace(wanted, seed=1), worlds) is None
    assert find_world(replace(wanted, agent={"horizon": 3}), worlds) is None
    unfinished = tmp_path / "run"
    shutil.copytree(worlds / f"f{FRAMES}" / "run", unfinished)
    shutil.rmtree(unfinished / "checkpoints" / f"step_{FRAMES:09d}")
    (tmp_path / "config.json").write_text('{"sb3": {}}')
    assert find_world(wanted, tmp_path) is None


def test_rows_tell_what_was_started_and_no_place(tmp_path):
    plug_in = PlugIn(task=TASK, seeds=(0,), arms=("random", "agent", "sac-beliefs"), **TINY)
    specs = plug_in.specs(tmp_path)
    assert rows(specs, tmp_path) == []
    for spec in specs[:2]:
        (tmp_path / spec.name).mkdir()
        note_commit(tmp_path / spec.name)
    result = {"spec": asdict(specs[1]), "return": 7.0}
    (tmp_path / specs[1].name / RESULT).write_text(json.dumps(result))
    started, ended = rows(specs, tmp_path)
    assert (started["arm"], started["finished"]) == ("random", False)
    assert (ended["return"], ended["finished"]) == (7.0, True)
    assert ended["spec"]["world"] == f"world-{TASK}-f{FRAMES}-s0"


def test_arms_wait_for_their_world_and_are_given_up_with_it(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "MUJOCO_GL", "disabled")
    plug_in = PlugIn(task=TASK, seeds=(0,), arms=("sac-beliefs",), **TINY)
    world, waited = compare(plug_in, tmp_path, tmp_path / "rows.json")
    assert (world.spec.name, world.spec.frames) == (f"world-{TASK}-f600-s0", 600)
    assert "exit code 1" in world.problem
    assert "not started" in waited.problem
    (row,) = stored_rows(tmp_path / "rows.json")
    assert (row["arm"], row["finished"]) == ("world", False)


@pytest.mark.render
def test_command_runs_what_its_row_repeats(tmp_path, capsys):
    out = ["--out", str(tmp_path), "--results", str(tmp_path / "rows.json")]
    words = ["bench", "plug-in", "--arms", "random", "--seeds", "3", "--frames", "400"]
    words += ["--episodes", "1", "--render-quality", "minimal", "--set", "action_repeat=50"]
    assert main([*words, *out]) == 0
    (row,) = stored_rows(tmp_path / "rows.json")
    assert (row["arm"], row["seed"], row["finished"]) == ("random", 3, True)
    again = shlex.split(row["command"])[1:]
    assert {"--seeds", "3", "action_repeat=50", "minimal"} <= set(again)
    capsys.readouterr()
    assert main([*again, *out]) == 0
    assert "random-cartpole" not in capsys.readouterr().out
    assert stored_rows(tmp_path / "rows.json") == [row]


def row(name="agent", seed=0, score=100.0, commit="a", finished=True, world=True, frames=100_000):
    spec = ArmSpec(arm=name, task="walker-walk", seed=seed, frames=frames)
    begun = {"spec": asdict(spec), "arm": name, "task": spec.task, "seed": seed}
    begun |= {"commits": [commit], "finished": finished}
    ended = {
        "return": score, "real_frames": {"world": spec.world_frames, "own": spec.own_frames},
        "training": {"cpu_seconds": 90.0}, "evaluation": {"cpu_seconds": 4.0},
        "lengths": [100, 100], "parameters": 2_000, "action_repeat": 2,
        "world": {"parameters": 3_000, "cpu_seconds": 600.0} if world else None,
    }  # fmt: skip
    return {**begun, **ended} if finished else begun


def test_table_by_hand():
    rows = [
        row(seed=1, score=300.0),
        row(score=1.0),
        row(score=200.0, commit="b"),
        row(commit="c", finished=False),
        row("sac-pixels", world=False, finished=False),
        row("random", score=30.0, world=False),
        row(score=999.0, frames=400),
        {**row(), "arm": "world"},
    ]
    (found,) = report_tables(rows).values()
    said, _, *lines = found.splitlines()
    assert said.startswith(
        "walker-walk, 100,000 real frames, render quality `fast`, action repeat 2"
    )
    assert lines[2:] == [
        "| `random` | 0 + 0 | 30 | **30** | 0.0 + 1.5 | 20 | 2,000 | – | `a` |",  # noqa: RUF001
        "| `sac-pixels` | – | unfinished | – | – | – | – | – | – |",  # noqa: RUF001
        "| `agent` | 100,000 + 0 | 200, 300 | **250** | 10.0 + 1.5 | 20 | 2,000 | 3,000 | `b`, `a` |",
    ]


def test_costs_of_a_foreign_world_are_unknown():
    one = row()
    one["world"]["cpu_seconds"] = None
    assert "| – + 1.5 |" in report_tables([one])["plug-in walker-walk"]  # noqa: RUF001


def test_command_rewrites_a_page_from_stored_rows(tmp_path, capsys):
    file, page = tmp_path / "rows.json", tmp_path / "page.md"
    words = ["bench", "plug-in", "--pages-only", "--results", str(file), "--page", str(page)]
    assert main(words) == 2
    assert "at least one run required" in capsys.readouterr().err
    save_rows([row()], file)
    page.write_text("# A\n\n<!-- table: plug-in walker-walk -->\n<!-- end -->\n\nB.\n")
    assert main(words) == 0
    assert "| `agent` | 100,000 + 0 | 100 |" in page.read_text()
    assert page.read_text().endswith("<!-- end -->\n\nB.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arms", "sac-pixel"], "sac-pixels"),
        (["--arms", "random,random"], "each once"),
        (["--frames", "7"], "multiple of 4"),
        (["--episodes", "0"], "episodes must be at least 1"),
        (["--pages-only"], "needs --page"),
        (["--worlds", "nowhere"], "must be a folder with runs"),
    ],
)
def test_command_refuses_what_cannot_work(words, said, tmp_path, capsys):
    assert main(["bench", "plug-in", "--out", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err
