"""Published rivals of RGB, solved by the optional package torchjd, behind our interface.

    v = Σᵢ wᵢ(G) gᵢ,    G = ⟨gᵢ, gⱼ⟩

UPGrad (Quinton & Rey, 2024), PCGrad (Yu et al., 2020), CAGrad (Liu et al., 2021), MGDA (Sener &
Koltun, 2018) and Nash-MTL (Navon et al., 2022) weigh the task gradients by numbers that depend on
their inner products alone. So the solver sees an M × M matrix L with L Lᵀ = G, in float64 on the
CPU, and never a parameter. They act on the raw gradients, as published: scales of losses matter.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import Parameter

from aime_agent.errors import CheckpointError, ConfigError, MissingDependencyError, nearest
from aime_agent.optimization import task_gradients as tasks
from aime_agent.shapes import validate_shape

RivalName = Literal["upgrad", "pcgrad", "cagrad", "mgda", "nash_mtl"]
EPS = 1e-8
_CLASSES = {
    "upgrad": "UPGrad",
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "mgda": "MGDA",
    "nash_mtl": "NashMTL",
}


class Rival:
    """One of torchjd's weightings as a balancer; tasks without a gradient have no vote.

    A task at its floor has a gradient of exactly zero. MGDA would then return zero for all tasks,
    so tasks with a norm up to 1e-8, or that is not finite, are left out before the rule sees them.
    PCGrad draws the order of its projections from torch's global generator.

    Args:
        name: Which rule.
        get_share_params: Returns the parameters to balance.
        **settings: Of torchjd's class of that name, e.g. ``c`` of CAGrad (0.4 by default).

    Raises:
        MissingDependencyError: torchjd, or a solver that the rule needs, is not installed.
        ConfigError: the rule or a setting is unknown.
    """

    def __init__(
        self,
        name: RivalName,
        get_share_params: Callable[[], Iterable[Parameter]] | None = None,
        **settings: Any,
    ) -> None:
        if name not in get_args(RivalName):
            known = nearest(name, get_args(RivalName))
            raise ConfigError(f"rival balancer {name!r} is unknown. {known}")
        self.name = name
        self.get_share_params = get_share_params
        self.settings = {"c": 0.4, **settings} if name == "cagrad" else settings
        self._owner: tuple[int, ...] = ()
        self._sizes: tuple[int, ...] = ()
        self._rule = _make_rule(name, 2, self.settings)

    def backward(
        self, losses: Sequence[Tensor | None], task_weights: Sequence[float] | None = None
    ) -> Float[np.ndarray, " M"]:
        """Adds the balanced gradient to ``.grad``; returns the weight on each task's gradient.

        Parameters that one task alone reaches get its plain gradient, those outside
        ``get_share_params()`` the plain sum.

        Args:
            losses: One scalar per task; None for a task that is absent.
            task_weights: Factor on each loss; 1 each unless given.
        """
        weights = tasks.check_weights(losses, task_weights)
        parameters = self._parameters()
        usable = tasks.present(losses, weights)
        if not any(x is not None for x in usable):
            return np.zeros(len(losses))
        found = tasks.collect(usable, weights, parameters, self._known(parameters))
        self._owner = found.owner
        rows = found.rows[:-1]
        shares = self._weigh(rows)
        tasks.write(dict(tasks.split(shares.to(rows) @ rows, found.owner, parameters)), parameters)
        tasks.write(found.private, parameters)
        return np.asarray(shares.numpy() * np.asarray(weights))

    def balance(
        self, grads: Float[Tensor, "M P"], task_weights: Sequence[float] | None = None
    ) -> Float[Tensor, " P"]:
        """Returns the balanced gradient of a matrix with one task gradient per row.

        Args:
            grads: Task gradients.
            task_weights: Factor on each row; 1 each unless given.
        """
        validate_shape(grads, (-1, -1), "grads", "One row per task: torch.stack(list_of_vectors)")
        weights = tasks.check_weights(list(grads), task_weights)
        rows = grads * grads.new_tensor(weights)[:, None]
        return self._weigh(rows).to(rows) @ rows

    def state_dict(self) -> dict[str, Tensor]:
        """Returns what is shared by whom, and where Nash-MTL's bargaining stood."""
        start = getattr(getattr(self._rule, "weighting", None), "prvs_alpha", np.zeros(0))
        return {
            "owner": torch.tensor(self._owner, dtype=torch.int64),
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
            "bargain": torch.as_tensor(start, dtype=torch.float64).clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned; the next call continues from there."""
        if set(state) != {"owner", "sizes", "bargain"}:
            raise CheckpointError(f"{self.name} state: unknown entries {sorted(state)}")
        self._owner = tuple(state["owner"].tolist())
        self._sizes = tuple(state["sizes"].tolist())
        if self.name == "nash_mtl":
            self._rule = _make_rule(self.name, len(state["bargain"]), self.settings)
            self._rule.weighting.prvs_alpha = state["bargain"].numpy().copy()

    def _parameters(self) -> list[Parameter]:
        if self.get_share_params is None:
            raise ConfigError("Rival.get_share_params must be set, e.g. model.parameters")
        parameters = [p for p in self.get_share_params() if p.requires_grad]
        if not parameters:
            raise ConfigError("Rival.get_share_params() returned no trainable parameter")
        return parameters

    def _known(self, parameters: list[Parameter]) -> tuple[int, ...]:
        """What was known of the parameters' owners; nothing where the parameters changed."""
        sizes = tuple(p.numel() for p in parameters)
        if sizes != self._sizes:
            self._sizes = sizes
            self._owner = (tasks.UNTOUCHED,) * len(sizes)
        return self._owner

    def _weigh(self, rows: Float[Tensor, "M P"]) -> Float64[Tensor, " M"]:
        """Cleans the rows of non-finite tasks in place and asks the rule about the others."""
        gram = (rows @ rows.mT).double().cpu()
        broken = ~gram.diagonal().isfinite()
        if bool(broken.any()):
            gram = gram.masked_fill(broken | broken[:, None], 0.0)
            rows[broken.to(rows.device)] = 0
        votes = (gram.diagonal().sqrt() > EPS).nonzero().squeeze(-1)
        shares = gram.new_zeros(len(gram))
        if len(votes) < 2:
            return shares.index_fill(0, votes, 1.0)
        if self.name == "nash_mtl" and self._rule.n_tasks != len(votes):
            self._rule = _make_rule(self.name, len(votes), self.settings)
        root = square_root(gram[votes][:, votes])
        with warnings.catch_warnings():
            # cvxpy remarks on the speed of Nash-MTL's problem, which torchjd states and we do not.
            warnings.filterwarnings("ignore", "You are solving a parameterized problem")
            found = self._rule.weighting(root)
        return shares.index_copy(0, votes, found.double())


def square_root(gram: Float64[Tensor, "M M"]) -> Float64[Tensor, "M M"]:
    """Returns L with L Lᵀ = G, also of a singular G.

    >>> gram = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> torch.allclose(square_root(gram) @ square_root(gram).mT, gram)
    True
    """
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp_min(0).sqrt()


def rgb_aggregator(**settings: Any) -> Any:
    """Returns RGB as a torchjd ``Aggregator`` (and ``Stateful``), for `torchjd.autojac`.

    Args:
        **settings: Fields of `RGBConfig`.

    Raises:
        MissingDependencyError: torchjd is not installed.
    """
    _import_torchjd()
    from torchjd import Stateful
    from torchjd.aggregation import Aggregator

    from aime_agent.optimization.rgb import RGB

    class RGBAggregator(Aggregator, Stateful):  # type: ignore[misc]
        """Rotation-based gradient balancing of a Jacobian's rows."""

        def __init__(self) -> None:
            super().__init__()
            self.core = RGB(**settings)

        def forward(self, matrix: Tensor, /) -> Tensor:
            return self.core.balance(matrix)

        def reset(self) -> None:
            self.core.load_state_dict(RGB(**settings).state_dict())

    return RGBAggregator()


def _import_torchjd() -> Any:
    try:
        import torchjd
        import torchjd.aggregation
    except ImportError as error:
        raise MissingDependencyError(
            "This balancer needs the package torchjd: pip install 'aime-agent[torchjd]'"
        ) from error
    return torchjd


def _make_rule(name: RivalName, count: int, settings: dict[str, Any]) -> Any:
    """Builds torchjd's aggregator; Nash-MTL alone must know the number of tasks."""
    rule = getattr(_import_torchjd().aggregation, _CLASSES[name])
    sizes = {"n_tasks": count} if name == "nash_mtl" else {}
    try:
        return rule(**sizes, **settings)
    except TypeError as error:
        raise ConfigError(f"balancer {name!r}: {error}") from error
    except ImportError as error:
        raise MissingDependencyError(
            f"balancer {name!r} needs a solver ({error}): pip install 'aime-agent[torchjd]'"
        ) from error
