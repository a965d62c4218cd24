"""Several processes, one batch: sums and means over ranks, which are nothing in a single process.

    gradient of the joint batch = mean over ranks of each rank's gradient
    Σ_n m_n x_n / Σ_n m_n       = mean over ranks of  Σ_own m_n x_n / (mean over ranks of Σ_own m_n)

Every rank holds the whole model and a batch of its own, of equal size. Collectives run inside
`together()` alone, which all ranks must enter alike: what one rank does by itself (evaluation,
pictures) then waits for nobody. Start processes with ``torchrun``; `start` joins them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import ConfigError

_SCOPE = SimpleNamespace(ranks=1, rank=0)
"""What `together` reaches: a plain object, since torch.compile cannot read a context variable."""


class Place(NamedTuple):
    """Which process this is."""

    rank: int = 0
    ranks: int = 1
    local: int = 0
    """Number on this machine, and so of its GPU."""


@contextmanager
def start(device: str) -> Iterator[Place]:
    """Joins the processes that ``torchrun`` started, and leaves them in the end; else does nothing.

    Args:
        device: "cuda" talks through NCCL (and gloo about counters), "cpu" through gloo.

    Raises:
        ConfigError: the environment names a number of processes, but no rank.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1:
        yield Place()
        return
    if "RANK" not in os.environ or "LOCAL_RANK" not in os.environ:
        raise ConfigError(
            f"WORLD_SIZE is {ranks}, and RANK and LOCAL_RANK are not set; start with torchrun"
        )
    place = Place(int(os.environ["RANK"]), ranks, int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(place.local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield place
    finally:
        dist.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """Within it all ranks do the same, and the functions below reach across them."""
    before = _SCOPE.ranks, _SCOPE.rank
    if dist.is_available() and dist.is_initialized():
        _SCOPE.ranks, _SCOPE.rank = dist.get_world_size(), dist.get_rank()
    try:
        yield
    finally:
        _SCOPE.ranks, _SCOPE.rank = before


def ranks() -> int:
    """Number of processes that `together` joins here: 1 outside of it."""
    return int(_SCOPE.ranks)


def rank() -> int:
    """This process among them."""
    return int(_SCOPE.rank)


def total(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns the sum over ranks, without a gradient."""
    if ranks() == 1:
        return x
    summed = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def mean(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns the mean over ranks; its gradient is that of ``x``.

    Averaged over ranks, gradients are then those of a function of the joint mean.
    """
    return x if ranks() == 1 else x + (total(x) / ranks() - x).detach()


def share(count: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns what to divide a rank's sum by, so that the mean over ranks is the joint mean.

    That is the joint count, at least 1, over the number of ranks.
    """
    return total(count).clamp(min=1.0) / ranks()


def gathered(x: Float[Tensor, "N *b"]) -> Float[Tensor, "M *b"]:
    """Returns the rows of all ranks, in their order, without a gradient."""
    if ranks() == 1:
        return x
    own = x.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(ranks())]
    dist.all_gather(parts, own)
    return torch.cat(parts)


def everywhere(flags: Tensor) -> Tensor:
    """Returns which flags are true on all ranks."""
    return flags if ranks() == 1 else total(flags.float()) == ranks()


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replaces tensors by their means over ranks, with one message."""
    if ranks() == 1 or not tensors:
        return
    flat = torch.cat([x.reshape(-1) for x in tensors])
    dist.all_reduce(flat)
    _scatter(flat / ranks(), tensors)


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replaces every ``.grad`` by its mean over ranks, with one message; a missing one counts as 0.

    A gradient that no rank has stays missing.
    """
    if ranks() == 1:
        return
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    )
    here = flat.new_tensor([p.grad is not None for p in parameters])
    summed = torch.cat([flat, here])
    dist.all_reduce(summed)
    flat, known = summed.split([len(flat), len(here)])
    found = [torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters]
    _scatter(flat / ranks(), found)
    for p, gradient, some in zip(parameters, found, known.tolist(), strict=True):
        p.grad = gradient if some else None


@torch.no_grad()
def broadcast(tensors: Sequence[Tensor]) -> None:
    """Gives all ranks the tensors of rank 0."""
    if ranks() == 1:
        return
    for x in tensors:
        sent = x.contiguous()
        dist.broadcast(sent, 0)
        x.copy_(sent)


def _scatter(flat: Tensor, targets: Sequence[Tensor]) -> None:
    """Writes pieces of a vector back into tensors."""
    pieces = flat.split([x.numel() for x in targets])
    for x, piece in zip(targets, pieces, strict=True):
        x.copy_(piece.view(x.shape))
