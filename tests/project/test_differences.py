"""The page about the seed documents: complete, and everything that it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (W\d+) \|(.*)\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


def section(title):
    """The text below a heading of the second level."""
    return re.split(r"^## ", PAGE.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def weak_places():
    """Number → its cells: the seeds' form, ours, files, tests."""
    return {name: [c.strip() for c in cells.split(" | ")] for name, cells in ROW.findall(PAGE)}


def named_tests(cell):
    """(file, function) for each test named; ``…`` stands for the file before."""
    found, file = [], ""
    for name in CODE.findall(cell):
        path, _, function = name.partition("::")
        file = file if path == "…" else path
        found.append((file, function))
    return found


def missing(files, tests):
    """What a row names that does not exist."""
    gone = [f for f in files if not (ROOT / "aime_agent" / f).is_file()]
    for file, function in tests:
        path = ROOT / "tests" / file
        known = path.read_text(encoding="utf-8") if path.is_file() else ""
        if not function or not re.search(rf"^def {function}\(", known, re.MULTILINE):
            gone.append(f"{file}::{function}")
    return gone


def test_every_weak_place_has_one_row():
    numbers = [int(name[1:]) for name, _ in ROW.findall(PAGE)]
    assert sorted(numbers) == list(range(1, 45))


@pytest.mark.parametrize("name", [f"W{i}" for i in range(1, 45)])
def test_row_names_files_and_tests_that_exist(name):
    weakness, ours, files, tests = weak_places()[name]
    assert weakness
    assert ours
    assert CODE.findall(files)
    assert named_tests(tests)
    assert missing(CODE.findall(files), named_tests(tests)) == []


def test_a_name_that_does_not_exist_is_found():
    wrong = (
        "`functional/test_gaussian.py::test_kl_equals_torch`, `…::test_nothing`, `no/test_x.py::y`"
    )
    assert missing(["functional/gaussian.py", "functional/none.py"], named_tests(wrong)) == [
        "functional/none.py",
        "functional/test_gaussian.py::test_nothing",
        "no/test_x.py::y",
    ]


def test_contradictions_are_named_with_both_sides_and_ours():
    rows = re.findall(
        r"^\| (.+) \|$", section("Where the documents contradict one another"), re.MULTILINE
    )
    body = [row.split(" | ") for row in rows[1:] if not row.startswith("-")]
    assert len(body) > 35
    assert all(len(cells) == 3 and all(cells) for cells in body)
    topics = [cells[0] for cells in body]
    assert len(set(topics)) == len(topics)


def test_readme_leads_to_the_page():
    assert "(docs/differences.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert section("The seeds' future extensions").strip()
