"""The pages on the world model say what the stored results say."""

import re
from pathlib import Path

import pytest

from aime_agent.training.bench.comparison import load_results
from aime_agent.training.bench.tables import all_tables, fill

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = {
    "world_model": RESULTS / "world_model.json",
    "ablation": RESULTS / "ablation" / "world_model.json",
}


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_those_of_the_results(name):
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert fill(text, all_tables(load_results(PAGES[name]))) == text
    assert text.count("<!-- table:") >= 2


@pytest.mark.parametrize("name", PAGES)
def test_pictures_exist(name):
    page = ROOT / "docs" / f"{name}.md"
    names = re.findall(r"\]\((images/[^)]+)\)", page.read_text(encoding="utf-8"))
    assert names
    assert [n for n in names if not (page.parent / n).exists()] == []
