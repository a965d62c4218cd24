"""A slow copy of a module.

    shadow ← d shadow + (1 − d) θ,   d = min(0.995, (1 + n) / (10 + n))   after n updates

Parameters and floating-point buffers are averaged, other buffers are copied. The copy is a module
of its own, so using it never touches the student.
"""

import copy

import torch
from torch import Tensor, nn

from aime_agent.errors import CheckpointError, ConfigError


class EMA:
    """Keeps ``module``, the running average of a student.

    Args:
        student: The module to follow; it is copied once and never written.
        decay: Largest share of the old average, in [0, 1).
        warmup: Whether the first updates use the smaller share (1 + n) / (10 + n).

    >>> student = nn.Linear(1, 1)
    >>> ema = EMA(student)
    >>> ema.update(student)
    >>> ema.decay
    0.18181818181818182
    """

    def __init__(self, student: nn.Module, decay: float = 0.995, *, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"EMA.decay must be in [0, 1), found {decay}")
        self.module = copy.deepcopy(student).requires_grad_(False).eval()
        self.max_decay = decay
        self.warmup = warmup
        self.updates = 0

    @property
    def decay(self) -> float:
        """Share of the old average that the next update keeps."""
        n = self.updates
        return min(self.max_decay, (1 + n) / (10 + n)) if self.warmup else self.max_decay

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves the copy toward ``student``."""
        averaged, copied = _pairs(self.module, student)
        slow, fast = [s for s, _ in averaged], [f for _, f in averaged]
        if slow:
            torch._foreach_lerp_(slow, fast, 1 - self.decay)
        for s, f in copied:
            s.copy_(f)
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the copy and the number of updates as a flat dictionary of tensors."""
        state = {f"module.{k}": v.clone() for k, v in self.module.state_dict().items()}
        return state | {"updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        if "updates" not in state:
            raise CheckpointError("EMA state: entry 'updates' is missing")
        weights = {k.removeprefix("module."): v for k, v in state.items() if k != "updates"}
        self.module.load_state_dict(weights)
        self.updates = int(state["updates"])


def _pairs(
    slow: nn.Module, fast: nn.Module
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Pairs the tensors of two equal modules, those to average apart from those to copy."""
    pairs = [
        *zip(slow.parameters(), fast.parameters(), strict=True),
        *zip(slow.buffers(), fast.buffers(), strict=True),
    ]
    averaged = [(s, f.detach()) for s, f in pairs if s.is_floating_point()]
    return averaged, [(s, f.detach()) for s, f in pairs if not s.is_floating_point()]
