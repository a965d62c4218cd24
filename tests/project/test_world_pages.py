"""The examples of docs/latent_world.md and docs/planning.md run, and their figures are the stored ones."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("latent_world", "planning")


def text_of(page):
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.render
@pytest.mark.parametrize("page", PAGES)
def test_examples_run_as_they_stand(place, page, monkeypatch):
    monkeypatch.chdir(place)
    examples = re.findall(r"^```python\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    assert examples
    for code in examples:
        exec(compile(code, f"{page}.md", "exec"), {})


def test_ranking_is_the_stored_one():
    found = json.loads((ROOT / "benchmarks" / "results" / "ranking.json").read_text())
    lines = text_of("latent_world").splitlines()
    for sides in found["policies"].values():
        shown = " | ".join(
            "{:.2f} ({:.2f} to {:.2f})".format(sides[s]["mean"], *sides[s]["ci95"])
            for s in ("dream", "real")
        )
        assert any(shown in line for line in lines)
    assert found["agree"]
