"""What every gradient balancer offers, the plain sum, and the choice by name.

    sum             Σ wᵢ gᵢ, one backward pass
    norm_mean       mean of unit gradients             RGB that does not turn
    norm_mean_ema   their running consensus            RGB that turns all the way
    rgb             between the two                    `rgb`
    upgrad, pcgrad, cagrad, mgda, nash_mtl             `rivals`, with the extra ``torchjd``

All but the sum need one backward pass per task.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from aime_agent.errors import ConfigError, nearest
from aime_agent.optimization.rgb import RGB
from aime_agent.optimization.rivals import Rival
from aime_agent.optimization.task_gradients import backward_weighted, check_weights, present

BalancerName = Literal[
    "sum", "norm_mean", "norm_mean_ema", "rgb", "upgrad", "pcgrad", "cagrad", "mgda", "nash_mtl"
]
RGB_FAMILY = ("rgb", "norm_mean", "norm_mean_ema")
"""Balancers whose settings are fields of `RGBConfig`."""


@runtime_checkable
class Balancer(Protocol):
    """Turns one loss per task into ``.grad`` of the parameters."""

    def backward(
        self, losses: Sequence[Tensor | None], task_weights: Sequence[float] | None = None
    ) -> Float[np.ndarray, " M"]:
        """Adds gradients to ``.grad``; returns the weight that each task got."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the state as a flat dictionary of tensors."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        ...


class PlainSum:
    """The sum of the losses in one backward pass: the yardstick of all balancers.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor(1.0))
    >>> PlainSum().backward([2 * w, None, 3 * w], [1.0, 1.0, 0.5])
    array([1. , 0. , 0.5])
    >>> w.grad
    tensor(3.5000)
    """

    def backward(
        self, losses: Sequence[Tensor | None], task_weights: Sequence[float] | None = None
    ) -> Float[np.ndarray, " M"]:
        """Adds the gradient of Σ wᵢ Lᵢ to ``.grad``; returns wᵢ, 0 for absent tasks.

        Args:
            losses: One scalar per task; None for a task that is absent.
            task_weights: wᵢ ≥ 0, one per task; 1 each unless given.
        """
        weights = check_weights(losses, task_weights)
        usable = present(losses, weights)
        backward_weighted(usable, weights)
        return np.array([0.0 if x is None else w for x, w in zip(usable, weights, strict=True)])

    def state_dict(self) -> dict[str, Tensor]:
        """Returns an empty dictionary: a sum remembers nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Accepts the empty dictionary that `state_dict` returned."""
        if state:
            raise ConfigError(f"PlainSum has no state, found {sorted(state)}")


def make_balancer(
    name: BalancerName,
    get_share_params: Callable[[], Iterable[Parameter]] | None = None,
    **settings: Any,
) -> Balancer:
    """Builds a balancer by name.

    Args:
        name: See the module's docstring.
        get_share_params: Returns the parameters to balance; the sum needs none.
        **settings: Fields of `RGBConfig` for the RGB family, those of torchjd's class for rivals;
            the sum takes none.

    Raises:
        ConfigError: the name or a setting is unknown, or contradicts the name.
        MissingDependencyError: a rival is asked for, and torchjd is not installed.

    >>> type(make_balancer("sum")).__name__
    'PlainSum'
    """
    match name:
        case "rgb" | "norm_mean" | "norm_mean_ema":
            fixed = _FIXED.get(name, {})
            clash = sorted(set(fixed) & set(settings))
            if clash:
                raise ConfigError(f"balancer {name!r} fixes {clash[0]}: leave it out, or use 'rgb'")
            return RGB(get_share_params=get_share_params, **fixed, **settings)
        case "sum" if settings:
            raise ConfigError(f"balancer 'sum' has no settings, found {sorted(settings)}")
        case "sum":
            return PlainSum()
        case "upgrad" | "pcgrad" | "cagrad" | "mgda" | "nash_mtl":
            return Rival(name, get_share_params, **settings)
    raise ConfigError(f"unknown balancer {name!r}. {nearest(name, get_args(BalancerName))}")


_FIXED: dict[str, dict[str, Any]] = {
    "norm_mean": {"alpha_steps": 0, "aggregate": "mean"},
    "norm_mean_ema": {"alpha_steps": 0, "aggregate": "consensus"},
}
