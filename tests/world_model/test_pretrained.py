"""A model on disk: the same numbers back, and a clear word about everything else."""

import json
import sys
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from laws import assert_equal

from aime_agent.errors import CheckpointError, MissingDependencyError
from aime_agent.world_model.model import AimeWorldModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@pytest.fixture(scope="module")
def single(make):
    return make().float()


@pytest.fixture
def folder(single, tmp_path):
    single.save_pretrained(tmp_path)
    return tmp_path


def edit(folder, **changes):
    text = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in text.items() if v is not None}))


@torch.no_grad()
def test_loaded_model_says_the_same(single, folder, film):
    loaded = AimeWorldModel.from_pretrained(folder)
    assert loaded.config == single.config
    assert not loaded.training
    out = [m.forward_sequence(film.frames, film.actions).beliefs for m in (single, loaded)]
    assert_equal(*out)
    futures = [
        m.predict_future(film.frames, film.actions, deterministic=True) for m in (single, loaded)
    ]
    assert_equal(*futures)


def test_every_weight_and_buffer_is_saved(single, folder):
    assert_equal(AimeWorldModel.from_pretrained(folder).state_dict(), single.state_dict())
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_floating_type_is_kept(make, tmp_path, kind):
    saved = make().to(kind)
    saved.save_pretrained(tmp_path)
    loaded = AimeWorldModel.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {kind}
    assert_equal(loaded.state_dict(), saved.state_dict())


def test_saving_twice_replaces(make, folder):
    other = make(scale=0.2).float()
    other.save_pretrained(str(folder))
    assert_equal(AimeWorldModel.from_pretrained(str(folder)).state_dict(), other.state_dict())


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_damaged_files_are_refused(folder, name, damage):
    path = folder / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\x80\x04\x95garbage")
    with pytest.raises(CheckpointError, match="no readable world model"):
        AimeWorldModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "Diffusion"}, "found 'Diffusion'"),
        ({"kind": None}, "found None"),
        ({"format": 99}, "of format 99"),
        ({"config": {"hidden_dims": 3}}, "'hidden_dims'.*Did you mean 'hidden_dim'"),
        ({"config": {"hidden_dim": 0}}, "hidden_dim must be at least 1"),
        ({"config": {"hidden_dim": "wide"}}, "configuration cannot be used"),
        ({"config": None}, "configuration cannot be used"),
        ({"config": [1, 2]}, "configuration cannot be used"),
    ],
)
def test_foreign_configurations_are_refused(folder, changes, words):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=words):
        AimeWorldModel.from_pretrained(folder)


def test_configuration_must_be_an_object(folder):
    (folder / CONFIG).write_text("[1, 2]")
    with pytest.raises(CheckpointError, match="AimeWorldModel of format 1 required"):
        AimeWorldModel.from_pretrained(folder)


def test_weights_of_another_model_are_refused(folder, make):
    make(hidden_dim=48).float().save_pretrained(folder / "other")
    (folder / "other" / WEIGHTS).rename(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="weights do not fit their configuration"):
        AimeWorldModel.from_pretrained(folder)


def test_missing_weights_are_refused_by_name(folder):
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    del weights["dynamics.h_0"]
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"dynamics\.h_0"):
        AimeWorldModel.from_pretrained(folder)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        AimeWorldModel.from_pretrained(tmp_path / "nowhere")


def test_hub_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'aime-agent\[hub\]'"):
        AimeWorldModel.from_pretrained("somebody/some-model")


def test_hub_is_asked_for_two_files_only(monkeypatch, folder, single):
    asked = {}

    def snapshot_download(name, **kw):
        asked.update(kw, name=name)
        return str(folder)

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    loaded = AimeWorldModel.from_pretrained("somebody/m", revision="v1", local_files_only=True)
    assert loaded.config == single.config
    assert asked["allow_patterns"] == [CONFIG, WEIGHTS]
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == (
        "somebody/m",
        "v1",
        True,
    )


def test_hub_failures_are_checkpoint_errors(monkeypatch):
    def snapshot_download(_name, **_kw):
        raise OSError("404 not found")

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(CheckpointError, match=r"somebody/m: .*404 not found"):
        AimeWorldModel.from_pretrained("somebody/m")
