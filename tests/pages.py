"""What README.md and the pages of docs/ tell people to type, found and made short.

A block after a line ``<!-- not run: REASON -->`` is left out, as are commands of the set-up itself
(`SET_UP`). `SHORTER` makes numbers small and changes nothing else.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    (r"--preset[ =](?!smoke)\w+", "--preset tiny"),  # meta-training has presets of its own
    (r"\bframes=[\d_]+", f"frames={FRAMES}"),
    (r"\btotal_timesteps=[\d_]+", "total_timesteps=64"),
    (r"\bepisodes=\d+", "episodes=1"),
    (r"""\bpreset=["']\w+["']""", 'preset="tiny"'),
]
BLOCK = re.compile(
    r"(?P<mark><!-- not run: .+? -->\s*)?^```(?P<language>bash|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(markdown):
    """Returns (language, text) of every block that is to run."""
    found = BLOCK.finditer(markdown)
    return [(m["language"], m["text"]) for m in found if not m["mark"]]


def shorter(text, changes=()):
    for pattern, replacement in [*SHORTER, *changes]:
        text = re.sub(pattern, replacement, text)
    return text


def commands(text):
    """Returns a bash block's commands: no set-up, continued lines joined, prompts removed."""
    lines = text.replace("\\\n", " ").splitlines()
    stripped = (line.strip().removeprefix("$ ") for line in lines)
    return [c for c in stripped if c and not c.startswith("#") and not SET_UP.match(c)]


def page_commands(markdown):
    """Returns the commands of all bash blocks, in order."""
    return [c for language, text in blocks(markdown) if language == "bash" for c in commands(text)]


def programs(markdown):
    """Returns the argument lists to run, in order."""
    found = []
    for language, text in blocks(markdown):
        if language == "python":
            found.append([sys.executable, "-c", shorter(text)])
        else:
            found += [["bash", "-euc", shorter(command)] for command in commands(text)]
    return found
