"""The shape legend, and the check that public borders use.

| B | T | C, H, W | R | N | S | K | D | A | M | P |
|---|---|---|---|---|---|---|---|---|---|---|
| batch | time | image | side of the attention map | tokens | slots | mixture components | feature size | action | tasks | parameters |

Layout is always batch first, time second: ``[B, T, ...]``. Images are ``[C, H, W]`` floats in
[0, 1] inside the model and ``[H, W, C]`` uint8 in environments. (The seed documents write K for
slots as well; here slots are S.)
"""

from collections.abc import Sequence

from torch import Tensor

from aime_agent.errors import ShapeError


def validate_shape(
    tensor: Tensor, expected: Sequence[int], name: str, remedy: str | None = None
) -> None:
    """Raises `ShapeError` unless ``tensor`` has the ``expected`` shape; -1 allows any size.

    Args:
        tensor: The tensor to check.
        expected: One size per dimension, -1 where any size is fine.
        name: What to call the tensor in the message.
        remedy: A sentence on how to mend it, appended to the message.

    >>> import torch
    >>> validate_shape(torch.zeros(8, 16, 256), (-1, -1, 256), "context")
    >>> validate_shape(torch.zeros(8, 3), (-1, 4), "action")
    Traceback (most recent call last):
        ...
    aime_agent.errors.ShapeError: action: dimension 1 must be 4, found 3 (shape [8, 3])
    """
    found = list(tensor.shape)
    tail = f". {remedy}" if remedy else ""
    if len(found) != len(expected):
        raise ShapeError(
            f"{name}: {len(expected)} dimensions required {_show(expected)}, "
            f"found {len(found)} (shape {found}){tail}"
        )
    for i, (size, want) in enumerate(zip(found, expected, strict=True)):
        if want not in (-1, size):
            raise ShapeError(
                f"{name}: dimension {i} must be {want}, found {size} (shape {found}){tail}"
            )


def _show(expected: Sequence[int]) -> str:
    return "[" + ", ".join("any" if e == -1 else str(e) for e in expected) + "]"
