"""docs/shapes.md says what the presets do."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("make_shapes", ROOT / "scripts/make_shapes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_what_the_generator_makes():
    written = (ROOT / "docs" / "shapes.md").read_text(encoding="utf-8")
    assert written == generator().page(), "run: python scripts/make_shapes.py"


def test_letters_and_numbers_agree():
    tables = [x for x in generator().page().split("\n## ") if x.splitlines()[2].startswith("| ten")]
    rows = [line.split(" | ") for x in tables for line in x.splitlines() if line.startswith("| `")]
    own = {"B", "T", "N", "H"}
    for name, letters, *sizes in rows:
        count = len([x for x in letters.strip("[]").split(", ") if x and x not in own])
        for size in sizes:
            numbers = size.strip(" |")
            assert count == (0 if numbers == "1" else len(numbers.split(" × "))), name
