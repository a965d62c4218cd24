"""The commands and snippets in README.md work as written, on fewer frames.

All ```bash and ```python blocks run in order in one fresh folder, so a later block finds the run
that an earlier one made.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import FRAMES, ROOT, programs

README = ROOT / "README.md"
EXAMINES = re.compile(r"^aime-agent doctor \w")
"""1 says that a part of a run is idle: true of runs as short as these, and no broken command."""


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
