"""Words as they were typed, and refusals as they are shown."""

import json
from collections.abc import Sequence
from typing import Any

from aime_agent.errors import ConfigError


def given(argv: Sequence[str]) -> set[str]:
    """Returns the field names of the options that were typed.

    >>> sorted(given(["train", "walker-walk", "--render-quality=fast", "--seed", "3"]))
    ['render_quality', 'seed']
    """
    return {word[2:].partition("=")[0].replace("-", "_") for word in argv if word.startswith("--")}


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Turns ``KEY=VALUE`` words into nested settings; values are JSON or plain text.

    >>> settings(["batch_size=16", "world_model.latent_dim=24", "camera_id=side"])
    {'batch_size': 16, 'world_model': {'latent_dim': 24}, 'camera_id': 'side'}
    """
    tree: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set takes KEY=VALUE, found {pair!r}")
        *groups, name = key.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"--set {pair}: {group!r} has been given a value already")
        if name in branch:
            raise ConfigError(f"--set {pair}: {name!r} has been given already")
        branch[name] = _value(text)
    return tree


def one_line(box: str) -> str:
    """Returns the message of a framed refusal without its frame, title and help texts."""
    lines = [line.strip().strip("│").strip() for line in box.splitlines()]
    lines = [line for line in lines if line and line[0] not in "╭╰"]
    rule = next((i for i, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    return " ".join(lines[:rule]) or "these arguments cannot be read"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
