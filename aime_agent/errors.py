"""Errors a caller can act on. Everything else raises Python's built-in types.

Each message says who complains, what is required, what was found and, where known, the remedy.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AimeError(Exception):
    """Base of all errors that this package defines."""


class ConfigError(AimeError, ValueError):
    """A setting is unknown or has a value that cannot work."""


class ShapeError(AimeError, ValueError):
    """A tensor does not have the shape that a public function requires."""


class CheckpointError(AimeError, ValueError):
    """A checkpoint is missing, damaged, foreign, or made for another world."""


class DataError(AimeError, ValueError):
    """Stored or incoming data (observations, actions, shards) cannot be used."""


class DivergenceError(AimeError, ArithmeticError):
    """Training has gone wrong for good: gradients have not been finite for many updates."""


class RenderError(AimeError, RuntimeError):
    """Pixels were asked for and no OpenGL back-end can make them."""


class MissingDependencyError(AimeError, ImportError):
    """An optional package is needed; the message names the extra to install."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Returns a hint like ``Did you mean 'walker-walk'?``, or the known names if few.

    >>> nearest("walker-wlk", ["walker-walk", "cartpole-balance"])
    "Did you mean 'walker-walk'?"
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=most, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known: " + ", ".join(names) + "."
