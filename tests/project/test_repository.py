"""What the repository holds: links that lead somewhere, no traces of one machine, no big files."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST = 1024 * 1024
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".json", ".txt", ""}

# Split so that this file does not find itself.
TRACES = re.compile(
    r"/wor" r"k/|/ro" r"ot/|/tm" r"p/|/ho" r"me/\w|/op" r"t/(?:pypi|wheels)|(?<![\w/.-])share" r"d/"
)  # fmt: skip
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")


def tracked_files():
    """Files in the repository or about to be; all files where git is not at hand."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    paths = (ROOT / name for name in names)
    return [p for p in paths if p.is_file() and not p.is_symlink()]


def pages():
    return [ROOT / "README.md", *ROOT.glob("C*.md"), *(ROOT / "docs").rglob("*.md")]


def without_code(markdown):
    fenced = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", fenced)


def anchors(markdown):
    """Returns the anchors that GitHub makes from the headings."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+\s+(.*)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links(page):
    markdown = page.read_text(encoding="utf-8")
    for match in LINK.finditer(without_code(markdown)):
        path, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            yield match["target"]


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_broken_links_are_seen(tmp_path):
    (tmp_path / "b.md").write_text("# A heading, *here*\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md) [x](b.md#a-heading-here) [x](c.md) [x](b.md#no) [x](https://e.org)")
    assert list(broken_links(page)) == ["c.md", "b.md#no"]


def test_no_file_names_a_machine():
    found = {}
    for path in tracked_files():
        if path.suffix in TEXT:
            hits = TRACES.findall(path.read_text(encoding="utf-8"))
            found |= {path.relative_to(ROOT).as_posix(): hits} if hits else {}
    assert found == {}


def test_no_file_is_large():
    assert [p.name for p in tracked_files() if p.stat().st_size > LARGEST] == []
