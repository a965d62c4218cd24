"""The seed's import paths lead here, and never take the place of another package."""

import importlib
import sys

import pytest

from aime_agent.errors import ConfigError
from aime_agent.meta import janus


@pytest.fixture(autouse=True)
def _clean():
    yield
    janus.uninstall()


def test_names_are_the_very_classes_of_this_package():
    janus.install()
    janus.install()
    for path, names in janus.MODULES.items():
        module = importlib.import_module(path)
        for name, source in names.items():
            assert getattr(module, name) is getattr(importlib.import_module(source), name)
    assert importlib.import_module("janus.ml").networks is sys.modules["janus.ml.networks"]


def test_what_the_seed_does_not_name_is_not_there():
    janus.install()
    with pytest.raises(ModuleNotFoundError, match=r"janus\.ml\.search"):
        importlib.import_module("janus.ml.search")


def test_uninstalling_leaves_nothing():
    janus.install()
    janus.uninstall()
    assert not [name for name in sys.modules if name.startswith("janus")]


def test_another_janus_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "janus.py").write_text("Queue = object\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="found another package"):
        janus.install()
    real = importlib.import_module("janus")
    with pytest.raises(ConfigError, match="found another package"):
        janus.install()
    janus.uninstall()
    assert sys.modules.pop("janus") is real
