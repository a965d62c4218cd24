"""RGB: rotation-based gradient balancing.

    ĝᵢ = gᵢ / ‖gᵢ‖,   d ← normalise(μ d + (1 − μ) normalise(mean ĝᵢ)),   rᵢ = ĝᵢ turned by αᵢ to d
    α  = argmin J(α), a few steps from the last α (`functional.gradients`)
    v  = mean rᵢ                                      (``aggregate="mean"``)
    v  = Σ ‖gᵢ‖ rᵢ                                    (``aggregate="norm_sum"``)
    v  = d                                            (``aggregate="consensus"``)

One product of the gradient matrix with itself gives all inner products, the angles are found on
M numbers, and one more product writes d and v. Source: OpenReview l0QAezg8HX (rejected; no public
ablation) as reconstructed from its abstract and reviews. Known limits: v may oppose a task when
there are more than two (``project=True`` mends it); being unit vectors, converged tasks vote as
loudly as others (``gate`` drops those that fell far below their own average); factors on a whole
loss do not act (pass ``task_weights``).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from aime_agent.configs import override
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.optimization import task_gradients as tasks
from aime_agent.optimization.rotation import RGBConfig, RGBState, fresh_state, solve
from aime_agent.shapes import validate_shape


class RGB:
    """Rotation-based gradient balancing, with the attribute contract of LibMTL.

    ``task_num``, ``device``, ``rep_grad`` and ``get_share_params`` may be given to the constructor
    or set later. ``device`` is accepted and ignored: everything follows the parameters.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> rgb = RGB(get_share_params=lambda: [w], scale="unit")
    >>> _ = rgb.backward([1000 * w[0], 0.001 * w[1]])
    >>> w.grad
    tensor([0.6174, 0.6174])
    """

    def __init__(
        self,
        config: RGBConfig | None = None,
        *,
        task_num: int | None = None,
        device: torch.device | str | None = None,
        rep_grad: bool = False,
        get_share_params: Callable[[], Iterable[Parameter]] | None = None,
        **overrides: Any,
    ) -> None:
        self.config = override(config or RGBConfig(), **overrides)
        self.task_num = task_num
        self.device = device
        self.rep_grad = rep_grad
        self.get_share_params = get_share_params
        self._state = fresh_state(0, [])

    def backward(
        self, losses: Sequence[Tensor | None], task_weights: Sequence[float] | None = None
    ) -> Float[np.ndarray, " M"]:
        """Adds the balanced gradient to ``.grad``; returns the weight on each task's gradient.

        Parameters that one task alone reaches get its plain gradient. Parameters outside
        ``get_share_params()`` get the plain sum (but with ``update_interval > 1`` a sum weighted
        like the rest on the calls between).

        Args:
            losses: One scalar per task; None (or no graph, or a value that is not finite) means
                that the task is absent and has no vote.
            task_weights: Weight of each task's unit gradient; 1 each unless given.
        """
        weights = tasks.check_weights(losses, task_weights)
        parameters = self._parameters(len(losses))
        state = self._matching(len(losses), [p.numel() for p in parameters])
        usable = tasks.present(losses, weights)
        if not any(x is not None for x in usable):
            return np.zeros(len(losses))
        if int(state.step) % self.config.update_interval and bool(state.weights.any()):
            self._state = _between(state, usable, weights, parameters)
        else:
            self._state = self._balanced(state, usable, weights, parameters)
        return np.asarray(self._state.weights.numpy() * np.asarray(weights))

    def balance(
        self, grads: Float[Tensor, "M P"], task_weights: Sequence[float] | None = None
    ) -> Float[Tensor, " P"]:
        """Returns the balanced gradient of a matrix with one task gradient per row.

        Args:
            grads: Task gradients.
            task_weights: Weight of each task's unit gradient; 1 each unless given.
        """
        validate_shape(grads, (-1, -1), "grads", "One row per task: torch.stack(list_of_vectors)")
        weights = tasks.check_weights(list(grads), task_weights)
        state = self._matching(len(grads), [grads.shape[1]])
        dtype = torch.promote_types(grads.dtype, torch.float32)
        rows = grads.new_zeros(grads.shape[0] + 1, grads.shape[1], dtype=dtype)
        torch.mul(grads, grads.new_tensor(weights)[:, None], out=rows[:-1])
        self._state, update = self._solve(state, rows, weights)
        return update.to(grads.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the state as a flat dictionary of tensors, ready for safetensors."""
        return {k: v.detach().clone() for k, v in self._state._asdict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned; the next call continues exactly."""
        if set(state) != set(RGBState._fields):
            wrong = sorted(set(state) ^ set(RGBState._fields))
            raise CheckpointError(f"RGB state: missing or unknown entries {wrong}")
        self._state = RGBState(**{k: v.detach().clone() for k, v in state.items()})

    def _parameters(self, count: int) -> list[Parameter]:
        """Checks the contract's attributes and returns the parameters to balance."""
        if self.rep_grad:
            raise ConfigError(
                "RGB.rep_grad=True is not offered: stack the gradients at the representation "
                "and call balance(grads), then representation.backward(result)"
            )
        if self.task_num not in (None, count):
            raise ConfigError(f"RGB.task_num is {self.task_num}, found {count} losses")
        if self.get_share_params is None:
            raise ConfigError("RGB.get_share_params must be set, e.g. model.parameters")
        parameters = [p for p in self.get_share_params() if p.requires_grad]
        if not parameters:
            raise ConfigError("RGB.get_share_params() returned no trainable parameter")
        return parameters

    def _matching(self, count: int, sizes: list[int]) -> RGBState:
        """Returns the state, or a fresh one where tasks or parameters have changed."""
        state = self._state
        same = len(state.angles) == count and state.sizes.tolist() == sizes
        return state if same else fresh_state(count, sizes)

    def _balanced(
        self,
        state: RGBState,
        losses: Sequence[Tensor | None],
        weights: list[float],
        parameters: list[Parameter],
    ) -> RGBState:
        """One backward pass per task, rotation, and gradients written."""
        found = tasks.collect(losses, weights, parameters, tuple(state.owner.tolist()))
        state = state._replace(owner=torch.tensor(found.owner))
        state, update = self._solve(state, found.rows, weights)
        tasks.write(dict(tasks.split(update, found.owner, parameters)), parameters)
        tasks.write(found.private, parameters)
        return state

    def _solve(
        self, state: RGBState, rows: Float[Tensor, "M_plus_1 P"], weights: list[float]
    ) -> tuple[RGBState, Float[Tensor, " P"]]:
        """Fills the last row with the consensus, solves on inner products, combines rows."""
        if state.consensus.numel() == rows.shape[1]:
            rows[-1] = state.consensus.to(rows)
        gram = (rows @ rows.mT).double().cpu()
        if not bool(gram.isfinite().all()):
            rows[~gram.diagonal().isfinite().to(rows.device)] = 0
        plan = solve(self.config, state, gram, torch.tensor(weights, dtype=torch.float64))
        consensus, update = (plan.rows.to(rows) @ rows).unbind()
        return state._replace(
            consensus=consensus.clone(),
            step=state.step + 1,
            **{k: v for k, v in plan._asdict().items() if k != "rows"},
        ), update


def _between(
    state: RGBState,
    losses: Sequence[Tensor | None],
    weights: list[float],
    parameters: list[Parameter],
) -> RGBState:
    """Reuses the last weights: one backward pass; private gradients get their own length back."""
    factors = state.weights.tolist()
    held = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    tasks.backward_weighted(losses, [f * w for f, w in zip(factors, weights, strict=True)])
    owner = tuple(state.owner.tolist())
    pull = dict(tasks.split(state.pull.to(state.consensus) * state.consensus, owner, parameters))
    for i, (parameter, old) in enumerate(zip(parameters, held, strict=True)):
        new, parameter.grad = parameter.grad, old
        if new is not None:
            tasks.write({i: new / factors[owner[i]] if owner[i] >= 0 else new}, parameters)
    tasks.write({p: g.to(parameters[p].device) for p, g in pull.items()}, parameters)
    return state._replace(step=state.step + 1)
