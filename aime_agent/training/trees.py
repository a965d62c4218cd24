"""Trees of tensors (named tuples, tuples, dictionaries) as flat lists, for saving."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from aime_agent.errors import CheckpointError


def leaves(tree: Any) -> list[Tensor]:
    """Returns the tensors of a tree in a fixed order; None holds no tensor."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in leaves(tree[key])]
    if isinstance(tree, (tuple, list)):
        return [x for branch in tree for x in leaves(branch)]
    if tree is None:
        return []
    raise TypeError(f"a tree of tensors required, found a {type(tree).__name__} in it")


def rebuild(like: Any, tensors: Sequence[Tensor]) -> Any:
    """Returns a tree like ``like`` with other tensors, on the devices of its own.

    Raises:
        CheckpointError: another number of tensors, or other shapes.
    """
    own = leaves(like)
    if [x.shape for x in own] != [x.shape for x in tensors]:
        raise CheckpointError(
            f"acting state: tensors {[list(x.shape) for x in own]} required, "
            f"found {[list(x.shape) for x in tensors]}"
        )
    moved = (new.to(old.device) for old, new in zip(own, tensors, strict=True))
    return _fill(like, moved)


def _fill(like: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(tensors)
    if isinstance(like, dict):
        return {key: _fill(like[key], tensors) for key in sorted(like)}
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*[_fill(branch, tensors) for branch in like])
    if isinstance(like, (tuple, list)):
        return type(like)(_fill(branch, tensors) for branch in like)
    return like
