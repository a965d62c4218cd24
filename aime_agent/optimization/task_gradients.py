"""One gradient per task, as rows of a matrix, by one backward pass per task.

A parameter that two or more tasks reach is *shared*: its gradients go into the matrix. One that a
single task reaches keeps its plain gradient. What a task reaches is seen from its gradients, so no
separate probing pass is needed. P is the number of shared scalars, M the number of tasks.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from aime_agent import distributed
from aime_agent.errors import ConfigError

UNTOUCHED, SHARED = -2, -1


class TaskGradients(NamedTuple):
    """The gradients of all tasks, apart for shared and private parameters."""

    rows: Float[Tensor, "M_plus_1 P"]
    """One row per task, and a last row left free for the consensus."""
    owner: tuple[int, ...]
    """Per parameter: the task that owns it, `SHARED`, or `UNTOUCHED`."""
    private: dict[int, Tensor]
    """Plain gradients of the private parameters, by parameter index."""


def collect(
    losses: Sequence[Tensor | None],
    weights: Sequence[float],
    parameters: Sequence[Parameter],
    owner: tuple[int, ...],
) -> TaskGradients:
    """Runs one backward pass per loss and sorts the gradients.

    Parameters outside ``parameters`` accumulate the weighted sum in ``.grad``, as ever.

    Args:
        losses: One scalar per task; None for a task that is absent.
        weights: Factor on each loss.
        parameters: Candidates for sharing.
        owner: What was known before; once shared, a parameter stays shared, so that a task that
            comes and goes does not change what the rows mean.

    Several processes average the gradients of each task before anyone balances them.
    """
    taken = [_own_gradients(losses, i, w, parameters) for i, w in enumerate(weights)]
    owner = tuple(
        _owner(old, [i for i, row in enumerate(taken) if row[p] is not None])
        for p, old in enumerate(owner)
    )
    shared = [p for p, task in enumerate(owner) if task == SHARED]
    private = {
        p: g for p, task in enumerate(owner) if task >= 0 and (g := taken[task][p]) is not None
    }
    found = TaskGradients(_stack(taken, shared, parameters), owner, private)
    distributed.average([found.rows, *private.values()])
    return found


def write(gradients: dict[int, Tensor], parameters: Sequence[Parameter]) -> None:
    """Adds gradients to ``.grad``, as a backward pass does."""
    for p, gradient in gradients.items():
        old = parameters[p].grad
        parameters[p].grad = gradient if old is None else old + gradient


def split(
    vector: Float[Tensor, " P"], owner: tuple[int, ...], parameters: Sequence[Parameter]
) -> Iterator[tuple[int, Tensor]]:
    """Cuts a vector over the shared scalars into pieces shaped like their parameters."""
    at = 0
    for p, task in enumerate(owner):
        if task == SHARED:
            size = parameters[p].numel()
            yield p, vector[at : at + size].view_as(parameters[p]).to(parameters[p].dtype)
            at += size


def backward_weighted(losses: Sequence[Tensor | None], weights: Sequence[float]) -> None:
    """One backward pass of Σ wᵢ Lᵢ over the losses that are present."""
    terms = [w * x for x, w in zip(losses, weights, strict=True) if x is not None and w != 0]
    if terms:
        torch.stack(terms).sum().backward()


def check_weights(
    losses: Sequence[Tensor | None], task_weights: Sequence[float] | None
) -> list[float]:
    """Returns one finite weight ≥ 0 per loss, 1 each if none are given."""
    if not losses:
        raise ConfigError("losses: at least one task required, found none")
    weights = [1.0] * len(losses) if task_weights is None else [float(w) for w in task_weights]
    if len(weights) != len(losses):
        raise ConfigError(f"task_weights: {len(losses)} required, found {len(weights)}")
    if not all(0 <= w < float("inf") for w in weights):
        raise ConfigError(f"task_weights must be finite and at least 0, found {weights}")
    return weights


def present(losses: Sequence[Tensor | None], weights: Sequence[float]) -> list[Tensor | None]:
    """Replaces losses that cannot teach (no graph, weight 0, not finite) by None."""
    candidates = [
        x if x is not None and x.requires_grad and w > 0 else None
        for x, w in zip(losses, weights, strict=True)
    ]
    flags = [x.detach().isfinite().all() for x in candidates if x is not None]
    finite = iter(distributed.everywhere(torch.stack(flags)).tolist() if flags else [])
    return [x if x is not None and next(finite) else None for x in candidates]


def _own_gradients(
    losses: Sequence[Tensor | None], task: int, weight: float, parameters: Sequence[Parameter]
) -> list[Tensor | None]:
    """Gradients of one task; what was in ``.grad`` before is put back."""
    loss = losses[task]
    if loss is None:
        return [None] * len(parameters)
    held = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    more = any(x is not None for x in losses[task + 1 :])
    loss.backward(loss.new_tensor(weight), retain_graph=more)
    taken = [p.grad for p in parameters]
    for p, old in zip(parameters, held, strict=True):
        p.grad = old
    return taken


def _owner(old: int, touching: list[int]) -> int:
    known = set(touching) | ({old} if old >= 0 else set())
    if old == SHARED or len(known) > 1:
        return SHARED
    return known.pop() if known else UNTOUCHED


def _stack(
    taken: list[list[Tensor | None]], shared: list[int], parameters: Sequence[Parameter]
) -> Float[Tensor, "M_plus_1 P"]:
    """Copies the shared gradients into one matrix, row by row; the last row is 0."""
    sizes = [parameters[p].numel() for p in shared]
    like = parameters[0]
    dtype = torch.promote_types(like.dtype, torch.float32)
    rows = torch.zeros(len(taken) + 1, sum(sizes), dtype=dtype, device=like.device)
    for row, gradients in zip(rows, taken, strict=False):
        for piece, p in zip(row.split(sizes), shared, strict=True):
            gradient = gradients[p]
            if gradient is not None:
                piece.copy_(gradient.reshape(-1))
    return rows
