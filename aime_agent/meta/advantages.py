"""How much better than usual an action was, within one task.

    A_t = Σ_k (γλ)^k δ_{t+k},    δ_t = r_t + γ b_{t+1} − b_t                 (Schulman et al., 2016)

b is a baseline: linear in (o, o², t, t², t³, 1), fitted to the returns of the same episodes by ridge
regression (Duan et al., 2016), in time alone where there are too few steps for more; the mean return
of the *other* episodes; or a value that is given.
Advantages are normalised over a task's steps, never within one episode, where a reward at the end
would lose its size. Shapes: E episodes, T steps, O observation.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_RIDGE = 1e-5


def returns_to_go(
    rewards: Float[Tensor, "E T"], valid: Bool[Tensor, "E T"], discount: float
) -> Float[Tensor, "E T"]:
    """Returns Σ_k γ^k r_{t+k} over valid steps.

    >>> returns_to_go(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]]), 0.5)
    tensor([[2., 2., 0.]])
    """
    total = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        following = (rewards[:, t] + discount * following) * valid[:, t]
        total[:, t] = following
    return total


def linear_baseline(
    observations: Float[Tensor, "E T O"],
    returns: Float[Tensor, "E T"],
    valid: Bool[Tensor, "E T"],
) -> Float[Tensor, "E T"]:
    """Returns the fitted b_t.

    Observations count only if there are two steps per number to fit: a baseline that passes through
    the returns of its own episodes leaves nothing to learn from.
    """
    episodes, length, size = observations.shape
    time = torch.linspace(0, 1, length, dtype=torch.float64, device=returns.device)
    time = time.expand(episodes, -1)[..., None]
    seen = observations.double().clamp(-10.0, 10.0)
    of_time = torch.cat([time, time**2, time**3, torch.ones_like(time)], dim=-1)
    few = 2 * (2 * size + of_time.shape[-1]) > int(valid.sum())
    features = of_time if few else torch.cat([seen, seen**2, of_time], dim=-1)
    known = features[valid]
    moments = known.T @ known
    moments += _RIDGE * len(known) * torch.eye(len(moments), dtype=known.dtype, device=known.device)
    weights = torch.linalg.solve(moments, known.T @ returns[valid].double())
    return (features @ weights).to(returns.dtype) * valid


def leave_one_out(returns: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
    """Returns the mean of the others; of one episode alone, 0.

    >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
    tensor([4.0000, 3.5000, 1.5000])
    """
    if len(returns) == 1:
        return torch.zeros_like(returns)
    return (returns.sum() - returns) / (len(returns) - 1)


def generalised_advantages(
    rewards: Float[Tensor, "E T"],
    baseline: Float[Tensor, "E T"],
    valid: Bool[Tensor, "E T"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "E T"]:
    """Returns A_t; behind the last step the baseline is 0."""
    following = torch.cat([(baseline * valid)[:, 1:], torch.zeros_like(baseline[:, :1])], dim=1)
    errors = rewards + discount * following - baseline
    return returns_to_go(errors, valid, discount * gae_lambda)


def normalised(
    advantages: Float[Tensor, "E T"], valid: Bool[Tensor, "E T"]
) -> Float[Tensor, "E T"]:
    """Returns advantages of mean 0 and deviation 1 over all valid steps of a task."""
    known = advantages[valid]
    spread = known.std(correction=0)
    return (advantages - known.mean()) / (spread + 1e-8) * valid
