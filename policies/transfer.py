"""Attention that one policy has learned, for another: pre-train where tasks are simple, go on where they are hard.

What asks, compares and reads moves: ``ask``, ``queries``, ``attention`` and ``read``. None of their shapes
depends on how many tokens there are, so laws of few nodes can teach policies over many. Tokens and tasks
must mean the same to both: where the target is untrained, copy all `PARTS`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aime_agent.errors import ConfigError, ShapeError, nearest
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy

ATTENTION_PARTS = ("ask", "queries", "attention", "read")
PARTS = (*ATTENTION_PARTS, "tokenizer", "task_encoder", "context_vector")


def transfer_attention(
    source: EnhancedMetaLearningPolicy,
    target: EnhancedMetaLearningPolicy,
    parts: Sequence[str] = ATTENTION_PARTS,
    freeze: bool = False,
) -> list[str]:
    """Copies parts of a policy into another; nothing is copied if anything does not fit.

    Args:
        source: Who has learned.
        target: Who gets it.
        parts: Of `PARTS`.
        freeze: Whether they stay as they are in the target: neither loop changes them
            (``requires_grad_(True)`` thaws them).

    Returns:
        The names of what was copied.

    Raises:
        ConfigError: no such part, or the two attend in different ways.
        ShapeError: the sizes differ.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"no part is named {part!r}. {nearest(part, PARTS)}")
    if "attention" in parts:
        _check_kind(source, target)
    given, taken = _of(source, parts), _of(target, parts)
    _check_shapes(given, taken)
    with torch.no_grad():
        for name, tensor in taken.items():
            tensor.copy_(given[name])
    for name, parameter in target.named_parameters():
        if freeze and name in taken:
            parameter.requires_grad_(False)
    return list(taken)


def _of(policy: EnhancedMetaLearningPolicy, parts: Sequence[str]) -> dict[str, Tensor]:
    return {n: t for n, t in policy.state_dict().items() if n.split(".")[0] in parts}


def _check_kind(source: EnhancedMetaLearningPolicy, target: EnhancedMetaLearningPolicy) -> None:
    """Refuses attention of another class, or heads of another number, which shapes do not show."""
    kinds = [
        (type(p.attention).__name__, getattr(p.attention, "num_heads", None))
        for p in (target, source)
    ]
    if kinds[0] != kinds[1]:
        (wanted, heads), (found, others) = kinds
        raise ConfigError(
            f"attention: {wanted} with num_attention_heads={heads} required by the target, found "
            f"{found} with {others}; build both policies alike"
        )


def _check_shapes(given: dict[str, Tensor], taken: dict[str, Tensor]) -> None:
    for name in [*taken, *(n for n in given if n not in taken)]:
        wanted, found = (
            list(tensors[name].shape) if name in tensors else "nothing"
            for tensors in (taken, given)
        )
        if wanted != found:
            raise ShapeError(
                f"{name}: {wanted} required by the target, found {found}; build both policies with "
                "the same hidden_dim, use_hierarchical_encoding and kinds of parts"
            )
