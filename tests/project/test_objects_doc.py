"""docs/objects.md shows what lies in benchmarks/results/objects, and nothing is left out."""

import importlib.util
import json
import re
from pathlib import Path

from aime_agent.training.bench.tables import fill

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objects.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results" / "objects"


def generator():
    spec = importlib.util.spec_from_file_location("make_objects", ROOT / "scripts/make_objects.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_has_the_results_tables():
    assert fill(PAGE, generator().tables(RESULTS)) == PAGE, "run: python scripts/make_objects.py"


def test_every_table_of_the_results_is_on_the_page():
    for name, table in generator().tables(RESULTS).items():
        assert table in PAGE, name
        assert table.count("\n") > 2, name


def test_results_hold_what_repeats_them_and_no_path():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert (found["episodes"], found["steps"], found["seed"]) == (20, 50, 0), path.name
        assert len(set(found["episode_seeds"])) == 20
        assert {"torch", "mujoco"} <= set(found["versions"])
        assert found["run"] is None
        assert not re.search(r'"/|\.\./', path.read_text(encoding="utf-8"))


def test_pictures_of_the_page_exist():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)


def test_a_changed_figure_is_noticed(tmp_path):
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        found["levels"]["bodies"].get("5 stripes", {"sc": {}})["sc"]["mean"] = 0.77
        (tmp_path / path.name).write_text(json.dumps(found))
    assert fill(PAGE, generator().tables(tmp_path)) != PAGE
