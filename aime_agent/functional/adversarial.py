"""Losses between a discriminator D, which tells real from made, and the generator that it judges.

    discriminator     L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(x̂))]     (Lim & Ye, 2017)
    generator         L_G = −E[D(x̂)]
    feature matching  L_F = (1/L) Σ_l E|φ_l(x̂) − sg(φ_l(x))|            (Salimans et al., 2016)
    adaptive weight   λ = min(‖∇_x̂ L_rec‖ / ‖∇_x̂ L‖, limit)              (Esser et al., 2021)

D gives logits, never probabilities: −log D(x̂) of the seed documents has no slope left where the
discriminator is sure. φ_l are the discriminator's hidden layers and x̂ is a reconstruction of x, so
layers are compared element by element. λ makes the weight of a term a share of the
reconstruction's gradient, taken where the two meet: at the generator's output.

>>> hinge_discriminator_loss(torch.tensor([2.0, 0.5]), torch.tensor([-0.25, -3.0]))
tensor(0.6250)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.errors import ShapeError


def hinge_discriminator_loss(
    real: Float[Tensor, "*n"],
    fake: Float[Tensor, "*n"],
    keep: Bool[Tensor, "*n"] | None = None,
) -> Float[Tensor, ""]:
    """Returns L_D from the logits of real and of made examples.

    Args:
        real: Logits of real examples.
        fake: Logits of made ones, of the same shape.
        keep: Which logits count; all if absent.
    """
    return _mean((1 - real).clamp_min(0) + (1 + fake).clamp_min(0), keep)


def hinge_generator_loss(
    fake: Float[Tensor, "*n"], keep: Bool[Tensor, "*n"] | None = None
) -> Float[Tensor, ""]:
    """Returns L_G: linear in the logit, so its slope does not fade where D is sure."""
    return -_mean(fake, keep)


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Returns L_F; the gradient reaches the made examples only.

    Args:
        real: Hidden layers on the real examples; stopped here.
        fake: The same layers on their reconstructions.

    Raises:
        ShapeError: there is no layer, or the layers do not pair.

    >>> feature_matching_loss([torch.zeros(2)], [torch.tensor([1.0, -3.0])])
    tensor(2.)
    """
    if not real or [x.shape for x in real] != [x.shape for x in fake]:
        shapes = [[list(x.shape) for x in layers] for layers in (real, fake)]
        raise ShapeError(
            f"real and fake: one layer or more of equal shapes required, found {shapes[0]} "
            f"and {shapes[1]}"
        )
    layers = zip(real, fake, strict=True)
    return torch.stack([(f - r.detach()).abs().mean() for r, f in layers]).mean()


def adaptive_weight(
    target: Float[Tensor, "*n"], gradient: Float[Tensor, "*n"], limit: float = 1e4
) -> Float[Tensor, ""]:
    """Returns λ, the factor that gives ``gradient`` the norm of ``target``, stopped.

    Args:
        target: Gradient of the reconstruction at the generator's output.
        gradient: Gradient of the term to weigh, at the same place.
        limit: Largest λ. Where ``gradient`` vanishes, λ is ``limit`` at most, and harmless.

    >>> adaptive_weight(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5]))
    tensor(10.)
    """
    size = torch.linalg.vector_norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
    return (torch.linalg.vector_norm(target) / size).clamp_max(limit).detach()


def with_gradient(
    value: Float[Tensor, ""], at: Float[Tensor, "*n"], gradient: Float[Tensor, "*n"]
) -> Float[Tensor, ""]:
    """Returns ``value`` with the given gradient with respect to ``at``.

    A discriminator's backward pass costs as much as its forward pass twice; once its gradient at
    the generator's output is known, further passes (one per task, in a balancer) need not run it.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> loss = with_gradient(torch.tensor(7.0), x, torch.tensor([0.5, -1.0]))
    >>> loss.item(), torch.autograd.grad(loss, x)[0]
    (7.0, tensor([ 0.5000, -1.0000]))
    """
    linear = (gradient.detach() * at).sum()
    return value.detach() + (linear - linear.detach())


def _mean(x: Float[Tensor, "*n"], keep: Bool[Tensor, "*n"] | None) -> Float[Tensor, ""]:
    if keep is None:
        return x.mean()
    weight = keep.to(x.dtype)
    return (x * weight).sum() / weight.sum().clamp_min(1)
