"""Half the bits where that is harmless: bfloat16 products on a GPU, float32 everywhere else.

Weights, moments, the codebook and all losses stay float32; `torch.autocast` computes the products
and convolutions of a pass over frames in bfloat16, whose range is that of float32, so that no loss
has to be scaled.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch.utils import _pytree

P = ParamSpec("P")
R = TypeVar("R")
Tree = TypeVar("Tree")


def products_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Computes products in a block in "bfloat16"; "float32" leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def exactly(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates what compares near numbers: computes it without bfloat16."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        kind = "cuda" if torch.is_autocast_enabled("cuda") else "cpu"
        with torch.autocast(kind, enabled=False):
            return function(*args, **kwargs)

    return run


def widened(tree: Tree) -> Tree:
    """Returns a tree of tensors with float32 in place of bfloat16; gradients pass."""

    def widen(x: torch.Tensor) -> torch.Tensor:
        return x.float() if x.dtype == torch.bfloat16 else x

    return _pytree.tree_map_only(torch.Tensor, widen, tree)
