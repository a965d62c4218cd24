"""RGB's settings, its memory, and one balance solved on M numbers.

Written on the rows w₁g₁ … w_M g_M and d of the gradient matrix, both the next consensus and the
update are linear combinations whose coefficients follow from the rows' inner products alone.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.functional import gradients as maths
from aime_agent.optimization.task_gradients import UNTOUCHED


@dataclass(frozen=True, kw_only=True)
class RGBConfig:
    """Settings of `RGB`."""

    mu: float = 0.9
    """Memory of the consensus, in [0, 1); 0 makes the method stateless but for the angles."""
    lambd: float = 1.0
    """Price of turning away from the own direction."""
    alpha_steps: int = 3
    """Descent steps on the angles per call; they start from the last angles."""
    lr_inner: float = 0.2
    """Step size of that descent, in radians."""
    update_interval: int = 1
    """Balance on every n-th call; between, reuse the weights with a single backward pass."""
    eps: float = 1e-8
    """Tasks with a gradient norm up to this are dropped."""
    align_threshold: float = 0.999
    """Tasks with \\|cos θ\\| above this do not turn."""
    aggregate: Literal["mean", "norm_sum", "consensus"] = "mean"
    """``norm_sum`` keeps magnitudes (and so undoes most of the balancing); ``consensus`` takes d
    itself, as if every task had turned all the way."""
    scale: Literal["ema_norm", "unit"] = "ema_norm"
    """Length of the mean: the running mean of the gradient norms, or none (the paper).

    ``norm_sum`` has its own length."""
    project: bool = False
    """Project v so that it opposes no task."""
    gate: float = 1e-3
    """Tasks below this share of their own running norm are dropped."""
    norm_mu: float = 0.99
    """Memory of the running norms, in [0, 1)."""

    def __post_init__(self) -> None:
        """Checks ranges."""
        for name in ("mu", "norm_mu"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("lambd", "lr_inner", "eps", "gate"):
            _require(self, name, getattr(self, name) >= 0, "at least 0")
        _require(self, "alpha_steps", self.alpha_steps >= 0, "at least 0")
        _require(self, "update_interval", self.update_interval >= 1, "at least 1")
        _require(self, "align_threshold", 0 < self.align_threshold <= 1, "in (0, 1]")
        kinds = ("mean", "norm_sum", "consensus")
        _require(self, "aggregate", self.aggregate in kinds, "'mean', 'norm_sum' or 'consensus'")
        _require(self, "scale", self.scale in ("ema_norm", "unit"), "'ema_norm' or 'unit'")


class RGBState(NamedTuple):
    """What RGB remembers between calls; all small but the consensus."""

    consensus: Float[Tensor, " P"]
    angles: Float64[Tensor, " M"]
    norms: Float64[Tensor, " M"]
    """Running gradient norm of each task; 0 before the first."""
    length: Float64[Tensor, ""]
    """Running mean of the norms: the length of the update."""
    weights: Float64[Tensor, " M"]
    """Last weight on each (weighted) task gradient."""
    pull: Float64[Tensor, ""]
    """Last weight on the consensus."""
    owner: Int64[Tensor, " N"]
    """Per parameter: its task, or shared, or untouched."""
    sizes: Int64[Tensor, " N"]
    """Scalars in each parameter; a change resets everything."""
    step: Int64[Tensor, ""]


class Plan(NamedTuple):
    """One balance, solved: two rows of coefficients (new d, new v) and the next state's parts."""

    rows: Float64[Tensor, "2 M_plus_1"]
    angles: Float64[Tensor, " M"]
    norms: Float64[Tensor, " M"]
    length: Float64[Tensor, ""]
    weights: Float64[Tensor, " M"]
    pull: Float64[Tensor, ""]


def fresh_state(count: int, sizes: list[int]) -> RGBState:
    """Returns the state before the first call."""
    zeros, none = torch.zeros(count, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    return RGBState(
        consensus=torch.zeros(0),
        angles=zeros,
        norms=zeros,
        length=none,
        weights=zeros,
        pull=none,
        owner=torch.full((len(sizes),), UNTOUCHED),
        sizes=torch.tensor(sizes, dtype=torch.int64),
        step=torch.zeros((), dtype=torch.int64),
    )


def solve(
    c: RGBConfig,
    state: RGBState,
    gram: Float64[Tensor, "M_plus_1 M_plus_1"],
    weights: Float64[Tensor, " M"],
) -> Plan:
    """Solves one balance on the inner products of the weighted gradients and d (last row)."""
    norms = gram.diagonal()[:-1].sqrt()
    active = _votes(c, norms / weights, state.norms) & (weights > 0)
    unit = torch.where(active, 1 / norms, 0.0)
    inner = torch.where(active & active[:, None], gram[:-1, :-1] * unit * unit[:, None], 0.0)
    old = gram[-1, -1].sqrt()
    reach = torch.where(active & (old > 0), gram[:-1, -1] * unit / old.clamp_min(1e-30), 0.0)
    vote = torch.where(active, weights, 0.0)
    d = maths.unit_consensus(inner, reach, vote, torch.where(old > 0, c.mu, old))
    cosines = d.previous * reach + inner @ d.tasks
    there = (d.previous != 0) | (d.tasks != 0).any()
    free = active & (cosines.abs() <= c.align_threshold) & there & (active.sum() > 1)
    view = maths.UnitGram(inner, cosines, active, free)
    alpha = maths.solve_angles(
        state.angles, view, lambd=c.lambd, steps=c.alpha_steps, lr=c.lr_inner
    )
    running, length = _running(c, state, norms / weights, vote)
    share = torch.where(active, _share(c, norms, vote, length), 0.0)
    turned = maths.slerp(alpha, view)
    own, pull = share * turned.own, share @ turned.pull
    whole = c.aggregate == "consensus" and bool(active.sum() > 1)
    if whole:
        own, pull = torch.zeros_like(own), share.sum()
    if c.project:
        own = own + maths.dual_cone_multipliers(inner, inner @ own + pull * cosines)
    back = torch.where(old > 0, d.previous / old.clamp_min(1e-30), 0.0)
    consensus = torch.cat([d.tasks * unit, back[None]])
    update = pull * consensus + torch.cat([own * unit, old.new_zeros(1)])
    if whole:  # weights are told on the gradients, and what is left of the old consensus
        own, pull = own + pull * d.tasks, pull * d.previous
    return Plan(
        rows=torch.stack([consensus, update]),
        angles=torch.where(active, alpha, state.angles),
        norms=running,
        length=length,
        weights=own * unit,
        pull=pull,
    )


def _votes(
    c: RGBConfig, norms: Float64[Tensor, " M"], running: Float64[Tensor, " M"]
) -> Bool[Tensor, " M"]:
    """True for tasks with a finite gradient that is neither zero nor tiny for that task."""
    return norms.isfinite() & (norms > c.eps) & (norms >= c.gate * running)


def _running(
    c: RGBConfig, state: RGBState, norms: Float64[Tensor, " M"], vote: Float64[Tensor, " M"]
) -> tuple[Float64[Tensor, " M"], Float64[Tensor, ""]]:
    """Moves the running norms (also of gated tasks, so that they may return) and their mean."""
    seen = norms.isfinite() & (norms > 0)
    moved = torch.where(state.norms > 0, state.norms.lerp(norms, 1 - c.norm_mu), norms)
    mean = torch.where(vote > 0, norms, 0.0) @ vote / vote.sum().clamp_min(1e-30)
    longer = torch.where(state.length > 0, state.length.lerp(mean, 1 - c.norm_mu), mean)
    return torch.where(seen, moved, state.norms), torch.where(vote.sum() > 0, longer, state.length)


def _share(
    c: RGBConfig, norms: Float64[Tensor, " M"], vote: Float64[Tensor, " M"], length: Tensor
) -> Float64[Tensor, " M"]:
    """Weight of each unit vector rᵢ in v; a task left alone keeps its raw gradient."""
    if c.aggregate == "norm_sum":
        return norms
    mean = vote / vote.sum().clamp_min(1e-30)
    mean = mean * length if c.scale == "ema_norm" else mean
    return torch.where((vote > 0).sum() > 1, mean, norms)


def _require(config: RGBConfig, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(f"RGBConfig.{name} must be {what}, found {getattr(config, name)!r}")
