"""Fused Adam(W) over named groups, each clipped by its own global gradient norm.

    g ← g · min(1, clip / ‖g‖) per group, then AdamW (Loshchilov & Hutter, 2019) with decay on
    tensors of two or more dimensions only

Gradients are first averaged over processes (`aime_agent.distributed`).

A step whose gradient is not finite is skipped, moments included, without waiting for the device.
One such step now and then is harmless; many in a row are a run that learns nothing, so they are
counted on the device and read every `CHECK_EVERY` steps. The state is a flat dictionary of tensors.
"""

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from aime_agent import distributed
from aime_agent.errors import CheckpointError, ConfigError, DivergenceError, nearest

Group = nn.Module | Iterable[Parameter]
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
CHECK_EVERY = 10
"""Steps between two looks at the counter: on an accelerator a look waits for the device."""
WARN_AFTER, FAIL_AFTER = 10, 100
"""Skipped steps in a row after which a warning is given, and after which training ends."""


class ClippedAdam:
    """Adam over named groups of parameters; make one with `make_optimizer`.

    Args:
        groups: Parameters by name.
        clips: Largest gradient norm of each group; ``inf`` leaves it as it is.
        lr: Learning rate.
        betas: Memories of the two moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay per unit of learning rate, on matrices only.
    """

    def __init__(
        self,
        groups: Mapping[str, list[Parameter]],
        clips: Mapping[str, float],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr = lr
        self._groups, self._clips = dict(groups), dict(clips)
        self._steps, self._warned = 0, False
        every = [p for members in groups.values() for p in members]
        self._skipped = torch.zeros((), dtype=torch.int64, device=every[0].device)
        matrices = [p for p in every if p.ndim >= 2]
        vectors = [p for p in every if p.ndim < 2]
        self._adam = torch.optim.AdamW(
            [
                {"params": members, "weight_decay": decay}
                for members, decay in ((matrices, weight_decay), (vectors, 0.0))
                if members
            ],
            lr=lr,
            betas=betas,
            eps=eps,
            fused=True,
        )

    def step(self, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """Clips and updates; returns the norm of each group's gradient before clipping.

        Args:
            lr_factor: Factor on the learning rate, for warm-up and decay.

        Raises:
            DivergenceError: the last `FAIL_AFTER` steps were all skipped (a `RuntimeWarning`
                comes after `WARN_AFTER`).
        """
        distributed.average_gradients([p for members in self._groups.values() for p in members])
        norms = {name: self._clip(name) for name in self._groups}
        broken = ~torch.stack(list(norms.values())).isfinite().all()
        self._adam.found_inf = broken.float()  # type: ignore[attr-defined]
        for group in self._adam.param_groups:
            group["lr"] = self.lr * lr_factor
        self._align()
        self._adam.step()
        self._skipped = torch.where(broken, self._skipped + 1, 0)
        self._steps += 1
        if self._steps % CHECK_EVERY == 0:
            self._look(norms)
        return norms

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        self._adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the moments as a flat dictionary of tensors, ``group.index.moment``."""
        return {
            f"{name}.{i}.{moment}": self._adam.state[p][moment].clone()
            for name, members in self._groups.items()
            for i, p in enumerate(members)
            for moment in MOMENTS
            if p in self._adam.state
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned; the next step continues exactly."""
        slots = {
            f"{name}.{i}": p
            for name, members in self._groups.items()
            for i, p in enumerate(members)
        }
        found = {key.rpartition(".")[0] for key in state}
        unknown = sorted(found - set(slots))
        if unknown:
            raise CheckpointError(f"optimiser state: no parameter {unknown[0]!r} in this model")
        self._adam.state.clear()
        for slot in found:
            self._adam.state[slots[slot]] = _moments(state, slot, slots[slot])

    def _look(self, norms: Mapping[str, Tensor]) -> None:
        """Warns, once per series, or raises if too many steps in a row were skipped."""
        skipped = int(self._skipped)
        self._warned = self._warned and skipped >= WARN_AFTER
        if skipped < WARN_AFTER or (self._warned and skipped < FAIL_AFTER):
            return
        broken = [name for name, norm in norms.items() if not norm.isfinite()]
        text = (
            f"the last {skipped} optimiser steps were skipped: the gradient of "
            f"{' and '.join(map(repr, broken))} is not finite, so nothing is learned (learning rate "
            f"{self.lr:g}). Look for NaN or infinite observations, rewards and loss terms; go back "
            "to an earlier checkpoint; lower the learning rate or the clip"
        )
        if skipped >= FAIL_AFTER:
            raise DivergenceError(text)
        self._warned = True
        warnings.warn(text, RuntimeWarning, stacklevel=3)

    def _align(self) -> None:
        """Gives gradients the memory layout of their parameters.

        The fused kernel pairs numbers by their place in memory, not by their index: a row-major
        gradient of a channels-last weight (balancers write such) would update the wrong entries.
        """
        for members in self._groups.values():
            for p in members:
                if p.grad is not None and p.grad.stride() != p.stride():
                    p.grad = torch.empty_like(p).copy_(p.grad)

    @torch.no_grad()
    def _clip(self, name: str) -> Tensor:
        gradients = [p.grad for p in self._groups[name] if p.grad is not None]
        if not gradients:
            return self._groups[name][0].new_zeros(())
        norm = nn.utils.get_total_norm(gradients)
        if self._clips[name] < float("inf"):
            nn.utils.clip_grads_with_norm_(self._groups[name], self._clips[name], norm)
        return norm


def make_optimizer(
    groups: Mapping[str, Group],
    *,
    lr: float = 2e-4,
    eps: float = 1e-8,
    clip: float | Mapping[str, float] = 5.0,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
) -> ClippedAdam:
    """Builds a fused Adam over named groups.

    Args:
        groups: Modules or parameters by name. A parameter belongs to the first group that has
            it, so ``{"slots": model.attention.slots, "model": model}`` gives slots their own.
        lr: Learning rate.
        eps: Added to the root of the second moment.
        clip: Largest gradient norm, one for all groups or by name (slots: 0.05 as in SAVi);
            groups not named are clipped at 5.
        betas: Memories of the two moments.
        weight_decay: Decoupled decay, on tensors of two or more dimensions.

    >>> adam = make_optimizer({"all": nn.Linear(2, 1)}, clip=1.0)
    """
    clips = dict(clip) if isinstance(clip, Mapping) else dict.fromkeys(groups, clip)
    for name, value in clips.items():
        if name not in groups:
            raise ConfigError(f"clip names no group {name!r}. {nearest(name, groups)}")
        if not value > 0:
            raise ConfigError(f"clip of group {name!r} must be above 0, found {value}")
    if not lr > 0:
        raise ConfigError(f"lr must be above 0, found {lr}")
    seen: set[Parameter] = set()
    members: dict[str, list[Parameter]] = {}
    for name, group in groups.items():
        found = group.parameters() if isinstance(group, nn.Module) else group
        members[name] = [p for p in dict.fromkeys(found) if p.requires_grad and p not in seen]
        seen.update(members[name])
        if not members[name]:
            raise ConfigError(f"optimiser group {name!r} has no trainable parameter of its own")
    clips = {name: clips.get(name, 5.0) for name in groups}
    return ClippedAdam(members, clips, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def _moments(state: Mapping[str, Tensor], slot: str, parameter: Parameter) -> dict[str, Tensor]:
    """The moments of one parameter, checked and on its device."""
    moments: dict[str, Tensor] = {}
    for moment in MOMENTS:
        value = state.get(f"{slot}.{moment}")
        if value is None or (moment != "step" and value.shape != parameter.shape):
            raise CheckpointError(f"optimiser state: {slot}.{moment} is missing or misshapen")
        if moment == "step":
            moments[moment] = value.detach().clone().to(parameter.device)
        else:
            # Laid out as the parameter is, see `ClippedAdam._align`.
            moments[moment] = torch.empty_like(parameter).copy_(value)
    return moments
