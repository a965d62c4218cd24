"""The commands and snippets in README.md work as written, on fewer frames.

All ```bash and ```python blocks run in order in one fresh folder, so a later block finds the run
that an earlier one made. A block after a line ``<!-- not run: REASON -->`` is left out, as are
commands of the set-up itself (`SET_UP`). `SHORTER` makes numbers small and changes nothing else.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FRAMES = os.environ.get("AIME_README_FRAMES", "2200")

SET_UP = re.compile(
    r"(?:git|cd|sudo|apt-get|pip|tensorboard|\./scripts/(?:quickstart|test))(?:\s|$)"
)
SHORTER = [
    (r"--frames[ =][\d_]+", f"--frames {FRAMES}"),
    (r"--episodes[ =]\d+", "--episodes 1"),
    (r"--eval-episodes[ =]\d+", "--eval-episodes 1"),
    (r"(aime-agent collect .*--episodes) 1", r"\1 5"),  # the fewest of which one is held out
    (r"--updates[ =][\d_]+", "--updates 20"),
    (r"--preset[ =]\w+", "--preset tiny"),
    (r"\bframes=[\d_]+", f"frames={FRAMES}"),
    (r"\btotal_timesteps=[\d_]+", "total_timesteps=64"),
    (r"\bepisodes=\d+", "episodes=1"),
    (r"""\bpreset=["']\w+["']""", 'preset="tiny"'),
]
EXAMINES = re.compile(r"^aime-agent doctor \w")
"""1 says that a part of a run is idle: true of runs as short as these, and no broken command."""
BLOCK = re.compile(
    r"(?P<mark><!-- not run: .+? -->\s*)?^```(?P<language>bash|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(markdown):
    """Returns (language, text) of every block that is to run."""
    found = BLOCK.finditer(markdown)
    return [(m["language"], m["text"]) for m in found if not m["mark"]]


def shorter(text):
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def commands(text):
    """Returns a bash block's commands: no set-up, continued lines joined, prompts removed."""
    lines = text.replace("\\\n", " ").splitlines()
    stripped = (line.strip().removeprefix("$ ") for line in lines)
    return [c for c in stripped if c and not c.startswith("#") and not SET_UP.match(c)]


def programs(markdown):
    """Returns the argument lists to run, in order."""
    found = []
    for language, text in blocks(markdown):
        if language == "python":
            found.append([sys.executable, "-c", shorter(text)])
        else:
            found += [["bash", "-euc", shorter(command)] for command in commands(text)]
    return found


@pytest.mark.timeout(900)
def test_readme_runs_from_top_to_bottom(tmp_path):
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = programs(README.read_text(encoding="utf-8"))
    assert found
    for program in found:
        done = subprocess.run(
            program,
            cwd=tmp_path, env=os.environ | {"PATH": path}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        fine = (0, 1) if EXAMINES.search(program[-1]) else (0,)
        assert done.returncode in fine, f"{shlex.join(program)}\n{done.stdout}\n{done.stderr}"


def test_set_up_comes_first_and_in_two_commands():
    markdown = README.read_text(encoding="utf-8")
    assert "./scripts/quickstart" in markdown
    assert "./scripts/test" in markdown


EXAMPLE = """
```bash
git clone https://example.org/repository && cd repository
./scripts/quickstart
aime-agent train walker-walk --preset small \\
    --frames 100_000 --out runs/walker  # about an hour
```
<!-- not run: needs a GPU -->
```bash
aime-agent train humanoid-run
```
```python
train("walker-walk", preset="base", frames=1_000_000)
```
```text
not code
```
"""


def test_blocks_are_found_and_shortened():
    first, second = programs(EXAMPLE)
    assert (
        first[-1].split()
        == (
            f"aime-agent train walker-walk --preset tiny --frames {FRAMES} --out runs/walker"
            "  # about an hour"
        ).split()
    )
    assert second[-1].strip() == f'train("walker-walk", preset="tiny", frames={FRAMES})'
