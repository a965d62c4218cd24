"""Words after ``aime-agent``: what is accepted, and one line with the nearest name for the rest."""

import dataclasses

import pytest

from aime_agent.cli.options import (
    VERBS,
    BenchObjectsArgs,
    DoctorArgs,
    EvalArgs,
    RecordArgs,
    TrainArgs,
    read,
)
from aime_agent.cli.words import given, one_line, settings
from aime_agent.errors import ConfigError
from aime_agent.training.config import TrainConfig
from aime_agent.training.video import RecordConfig


def test_train_takes_the_fixed_flags():
    args = read(
        [
            "train",
            "walker-walk",
            "--preset",
            "tiny",
            "--frames",
            "5000",
            "--seed",
            "3",
            "--out",
            "runs/a",
            "--resume",
            "--render-quality",
            "fast",
            "--device",
            "cpu",
        ]
    )
    assert args == TrainArgs(
        task="walker-walk",
        preset="tiny",
        frames=5000,
        seed=3,
        out="runs/a",
        resume=True,
        render_quality="fast",
    )


def test_other_verbs_take_a_run():
    assert read(["eval", "runs/a", "--episodes", "3"]) == EvalArgs(run="runs/a", episodes=3)
    assert read(["record", "r", "--out", "f.mp4"]) == RecordArgs(run="r", out="f.mp4")
    assert read(["doctor"]) == DoctorArgs(run=None)
    assert read(["doctor", "r"]) == DoctorArgs(run="r")


def test_bench_objects_takes_a_run_or_a_task():
    assert read(["bench", "objects", "r", "--steps", "9"]) == BenchObjectsArgs(run="r", steps=9)
    assert read(["bench", "objects", "--task", "t"]) == BenchObjectsArgs(task="t")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("trian walker-walk", "'train'"),
        ("train walker-walk --frame 3", "'--frames'"),
        ("train walker-walk --prest=tiny", "'--preset'"),
        ("train walker-walk --preset smal", "'small'"),
        ("train walker-walk --render-quality fats", "'fast'"),
        ("eval r --policy randon", "'random'"),
        ("record r --sead 1", "'--seed'"),
        ("bench object r", "'bench objects'"),
        ("bench", "'bench objects'"),
        ("bench agents", "'bench objects'"),
        ("bench objects r --plaier agent", "'--player'"),
        ("bench objects --player zero", "agent, random"),
        ("bench objects --tusk walker-walk", "'--task'"),
        ("--hepl", "'--help'"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(words, nearest):
    with pytest.raises(ConfigError, match=nearest) as refused:
        read(words.split())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("train", "TASK"),
        ("train walker-walk --frames many", "--frames.*many"),
        ("train walker-walk --frames", "--frames"),
        ("eval", "RUN"),
        ("record r surplus", "surplus"),
    ],
)
def test_missing_and_malformed_words_are_named_in_one_line(words, named):
    with pytest.raises(ConfigError, match=named) as refused:
        read(words.split())
    assert "\n" not in str(refused.value)
    assert "│" not in str(refused.value)


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_option_and_its_default(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        read([*verb.split(), "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for field in dataclasses.fields(VERBS[verb]):
        option = "--" + field.name.replace("_", "-")
        assert option in text or field.name.upper() in text


def test_help_on_a_group_of_verbs_lists_them(capsys):
    with pytest.raises(SystemExit):
        read(["bench", "--help"])
    text = capsys.readouterr().out
    assert "bench world-model" in text
    assert "bench objects" in text


def test_help_states_units(capsys):
    with pytest.raises(SystemExit):
        read(["train", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Physics control steps" in text
    assert "in pixels" in text
    assert "(default: 100000)" in text


@pytest.mark.parametrize(("args", "config"), [(TrainArgs, TrainConfig), (RecordArgs, RecordConfig)])
def test_defaults_are_those_of_python(args, config):
    wanted = {f.name: f.default for f in dataclasses.fields(config)}
    shared = {f.name: f.default for f in dataclasses.fields(args) if f.name in wanted}
    shared.pop("task", None), shared.pop("out", None)
    assert shared == {name: wanted[name] for name in shared}
    assert len(shared) >= 6


def test_settings_nest_and_keep_types():
    found = settings(["a.b=1", "a.c=[2, 3]", "d=x", "e=true", "f=1e-3"])
    assert found == {"a": {"b": 1, "c": [2, 3]}, "d": "x", "e": True, "f": 1e-3}


@pytest.mark.parametrize("pair", ["lonely", "=1", "a=1 a.b=2", "a.b=2 a=1", "a=1 a=2"])
def test_bad_settings_are_named(pair):
    with pytest.raises(ConfigError, match="--set"):
        settings(pair.split())


def test_given_names_only_what_was_typed():
    assert given(["train", "t", "--eval-episodes", "3", "--out=x"]) == {"eval_episodes", "out"}


def test_one_line_drops_frame_title_and_rules():
    box = "╭─ Value error ─╮\n│ bad --x: no   │\n│ number        │\n│ ───────────── │\n│ help │\n╰───╯\n"
    assert one_line(box) == "bad --x: no number"
