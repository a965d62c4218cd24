"""docs/symbolic.md shows the tasks and results that there are, and its snippets run."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aime_agent.training.bench.tables import fill

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "symbolic.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results" / "meta"
BLOCK = re.compile(
    r"(?P<mark><!-- not run: .+? -->\s*)?^```(?P<kind>bash|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
BLOCKS = [(m["kind"], m["text"]) for m in BLOCK.finditer(PAGE) if not m["mark"]]


def generator():
    spec = importlib.util.spec_from_file_location(
        "make_symbolic", ROOT / "scripts/make_symbolic.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_tasks_and_results():
    assert fill(PAGE, generator().tables(RESULTS)) == PAGE, "run: python scripts/make_symbolic.py"


def test_every_table_is_on_the_page():
    for name, table in generator().tables(RESULTS).items():
        assert table in PAGE, name


def test_results_hold_what_repeats_them():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert {"torch", "sympy", "aime-agent"} <= set(found["versions"]), path.name
        assert found["config"]["method"] == found["method"]
        assert all(run["recovered"] for run in found["runs"] if run["solved_at"] is not None)


@pytest.mark.parametrize(("kind", "text"), BLOCKS, ids=[k for k, _ in BLOCKS])
def test_snippets_run(kind, text, tmp_path):
    program = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euc", text]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        program,
        cwd=tmp_path, env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout or "learn" in text


def test_pictures_exist():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert len(pictures) == 2
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
