"""The names a user may import from the root. A change here belongs in CHANGELOG.md."""

import re
import tomllib
from pathlib import Path

import pytest

import aime_agent

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "AimeAgent",
    "AimeWorldModel",
    "DPGMMVariationalRecurrentAutoencoder",
    "__version__",
    "collect",
    "train",
    "train_world_model",
    "validate_shape",
]


def test_public_names_are_these():
    assert sorted(aime_agent.__all__) == PUBLIC


def test_unknown_name_is_named():
    with pytest.raises(AttributeError, match="AimeAgnt"):
        aime_agent.AimeAgnt  # noqa: B018


def test_version_is_stated_alike_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == aime_agent.__version__
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_there_and_documented(name):
    assert name in dir(aime_agent)
    value = getattr(aime_agent, name)
    assert name == "__version__" or value.__doc__


def test_extras_named_in_messages_exist():
    files = [*(ROOT / "aime_agent").rglob("*.py"), *(ROOT / "envs").rglob("*.py")]
    text = "".join(path.read_text() for path in files)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"aime-agent\[(\w+)\]", text))
    assert "tensorboard" in named
    assert named <= set(project["optional-dependencies"])
