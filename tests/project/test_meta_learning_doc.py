"""docs/meta_learning.md: its snippets and commands run, and every file and test that it names is there."""

import re
from pathlib import Path

import pytest
from pages import ROOT, blocks, page_commands

from aime_agent.cli.main import main
from aime_agent.meta import janus

PAGE = (ROOT / "docs" / "meta_learning.md").read_text(encoding="utf-8")
FLAW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_snippets_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    names = {"__name__": "page"}
    try:
        for k, code in enumerate(text for language, text in blocks(PAGE) if language == "python"):
            exec(compile(code, f"meta_learning.md, block {k}", "exec"), names)
    finally:
        janus.uninstall()
    assert Path("videos/attention_kepler_orbit.mp4").is_file()
    assert set(names["bandits"].task_performance) <= {f"arm {k}" for k in range(4)}
    assert "double_pendulum_energy" not in [
        t.name for t in names["custom"].family.distribution.tasks
    ]
    assert not names["hard"].policy.attention.to_key.weight.requires_grad


def test_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in page_commands(PAGE):
        assert main(command.split()[1:]) == 0, command


def test_all_flaws_are_told_with_tests_that_exist():
    rows = FLAW.findall(PAGE)
    assert [int(row[0]) for row in rows] == list(range(1, 20))
    for number, *_, tests in rows:
        for file, function in re.findall(r"`([\w/]+\.py)::(\w+)`", tests):
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {function}\(", text, re.MULTILINE), (number, function)
        assert "::" in tests


@pytest.mark.parametrize("name", re.findall(r"`((?:layers|policies|meta)/(?!test_)\w+\.py)`", PAGE))
def test_modules_of_the_page_exist(name):
    assert (ROOT / "aime_agent" / name).is_file()


def test_pictures_exist_and_readme_leads_here():
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / picture).is_file()
    assert "(docs/meta_learning.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n## Measured\n" in PAGE
