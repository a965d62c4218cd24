"""The prior of z_t from what exists in a dream, and a draw from it.

    p(z_t | h_t, context^_{t-1} [, a_{t-1}])  [ · p(z₂ | h_t, z₁) ]

In brackets: options. h_t holds a_{t-1} already; as a direct input (``action_in_prior``) the action
reaches the mixture without having to survive the LSTM. With ``hierarchy`` a second level of latents
hangs under the mixture's (`representation.ladder`).
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.representation.mixture import MixturePrior

if TYPE_CHECKING:
    from aime_agent.world_model.model import AimeWorldModel


def prior_at(
    model: "AimeWorldModel",
    hidden: Float[Tensor, "*b h"],
    context_hat: Float[Tensor, "*b c"],
    action: Float[Tensor, "*b A"] | None,
    z: Float[Tensor, "*b z"] | None = None,
) -> MixturePrior:
    """Returns the prior over z, or over z₁ alone where there are two levels and no z is given.

    Args:
        model: The world model.
        hidden: h_t.
        context_hat: context^_{t-1}.
        action: a_{t-1}, as `WorldState` holds it.
        z: Where the second level is needed, a z whose z₁ it follows. No gradient comes back to it:
            the balanced KL lets each side teach its own part.
    """
    parts = [hidden, context_hat] if action is None else [hidden, context_hat, action]
    mixture = model.prior.infer(torch.cat(parts, dim=-1))
    if model.ladder is None or z is None:
        return mixture
    return model.ladder.widen(mixture, hidden, z.detach())


def draw(
    model: "AimeWorldModel",
    prior: MixturePrior,
    hidden: Float[Tensor, "*b h"],
    normal: Float[Tensor, "*b z"],
    uniform: Float[Tensor, "*b"],
    temperature: float = 1.0,
) -> Float[Tensor, "*b z"]:
    """Returns z, level by level.

    Args:
        model: The world model.
        prior: Of `prior_at`.
        hidden: h_t.
        normal: Noise of the components and of z₂.
        uniform: Noise that picks the component.
        temperature: 0 is the mean of the heaviest component (and of z₂ there).
    """
    if model.ladder is None:
        return prior.sample(normal, uniform, temperature)
    n = model.ladder.top_dim
    first = prior._replace(means=prior.means[..., :n], stds=prior.stds[..., :n])
    top = first.sample(normal[..., :n], uniform, temperature)
    return model.ladder.extend(top, hidden, normal[..., n:], temperature)
