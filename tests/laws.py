"""Laws that many modules obey, each one function that raises AssertionError with the culprit.

``call`` is a function of the module (or of tensors) that returns a tensor or a tree of tensors.
Import as ``from laws import every_parameter_gets_gradient``.
"""

import copy
import io
import pickle
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree


def tensors(value: Any) -> list[Tensor]:
    """Returns the tensors in a tree of tuples, NamedTuples, lists and mappings."""
    return [leaf for leaf in tree.tree_leaves(value) if isinstance(leaf, Tensor)]


def assert_equal(actual: Any, expected: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Compares two trees leaf by leaf; exactly unless told otherwise."""
    left, right = tensors(actual), tensors(expected)
    assert len(left) == len(right), f"{len(left)} tensors against {len(right)}"
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True)


def randomised(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """Returns a copy without zero-initialised weights, which would hide what lies behind them."""
    clone = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(1)
    for parameter in clone.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += scale * noise.to(parameter)
    return clone


def every_parameter_gets_gradient(
    module: nn.Module,
    call: Callable[[nn.Module], Any],
    *,
    randomise: bool = True,
    except_for: Collection[str] = (),
) -> None:
    """A generic function of the output has a finite, non-zero gradient for every parameter."""
    module = randomised(module) if randomise else module
    module.zero_grad()
    leaves = [leaf for leaf in tensors(call(module)) if leaf.requires_grad]
    assert leaves, "no output depends on a parameter"
    generator = torch.Generator().manual_seed(2)
    loss = sum(
        (leaf * torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)).sum()
        for leaf in leaves
    )
    loss.backward()
    wrong = {
        name: "none" if p.grad is None else "zero" if not p.grad.any() else "not finite"
        for name, p in module.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any() or not p.grad.isfinite().all())
    }
    unexpected = {n: w for n, w in wrong.items() if n not in except_for}
    assert not unexpected, f"gradients: {unexpected}"


def sums_to_one(probabilities: Tensor, dim: int | tuple[int, ...], atol: float = 1e-5) -> None:
    """Values are not negative and sum to one over ``dim``."""
    assert (probabilities >= 0).all(), f"negative: {probabilities.min()}"
    total = probabilities.sum(dim)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=atol)


def is_permutation_equivariant(
    function: Callable[[Tensor], Any], x: Tensor, dim: int, out_dim: int | None = None
) -> None:
    """Permuting the input along ``dim`` permutes every output along ``out_dim`` alike."""
    order = torch.randperm(x.shape[dim], generator=torch.Generator().manual_seed(3))
    where = dim if out_dim is None else out_dim
    expected = [leaf.index_select(where, order) for leaf in tensors(function(x))]
    assert_equal(function(x.index_select(dim, order)), expected, rtol=1e-4, atol=1e-5)


def is_permutation_invariant(function: Callable[[Tensor], Any], x: Tensor, dim: int) -> None:
    """Permuting the input along ``dim`` changes no output."""
    order = torch.randperm(x.shape[dim], generator=torch.Generator().manual_seed(3))
    assert_equal(function(x.index_select(dim, order)), function(x), rtol=1e-4, atol=1e-5)


def is_deterministic(call: Callable[[], Any]) -> None:
    """Two calls agree bit for bit, and neither draws from torch's global generator."""
    before = torch.get_rng_state()
    assert_equal(call(), call())
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"


def batch_equals_singles(function: Callable[..., Any], *inputs: Tensor, atol: float = 1e-5) -> None:
    """Row b of a batched call equals the call on row b alone."""
    batched = tensors(function(*inputs))
    for b in range(inputs[0].shape[0]):
        single = tensors(function(*(x[b : b + 1] for x in inputs)))
        assert_equal([x[b : b + 1] for x in batched], single, rtol=1e-4, atol=atol)


def is_causal(function: Callable[[Tensor], Any], x: Tensor, time: int) -> None:
    """Noise in ``x[:, time + 1:]`` changes no output up to ``time``; at ``time`` it does.

    ``x`` and all outputs are ``[B, T, ...]``.
    """
    later, now = x.clone(), x.clone()
    later[:, time + 1 :] += torch.randn_like(later[:, time + 1 :])
    now[:, time] += torch.randn_like(now[:, time])
    base = [leaf[:, : time + 1] for leaf in tensors(function(x))]
    assert_equal([leaf[:, : time + 1] for leaf in tensors(function(later))], base)
    changed = [leaf[:, : time + 1] for leaf in tensors(function(now))]
    moved = any(not torch.equal(a, b) for a, b in zip(base, changed, strict=True))
    assert moved, "the present changes nothing either: this law tested nothing"


def survives_saving(module: nn.Module, fresh: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    """``fresh``, built alike, gives the same output once it has loaded the weights."""
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert_equal(call(fresh), call(module))


def survives_copying_after_use(module: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    """`copy.deepcopy` and pickle work after a forward and the copies compute the same."""
    expected = call(module)
    assert_equal(call(copy.deepcopy(module)), expected)
    assert_equal(call(pickle.loads(pickle.dumps(module))), expected)


def works_in_float64(module: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    """After ``module.double()`` every floating output of ``call`` is float64."""
    kinds = {leaf.dtype for leaf in tensors(call(module.double())) if leaf.is_floating_point()}
    assert kinds == {torch.float64}, f"found {kinds}"
