"""How much each part of a world model is used, in numbers that tell a dead part from a working one.

    mixture     N_eff = exp H(mean r), mutual information, share of dead components
    codebook    perplexity
    attention   entropy of the bottom-up map in nats (log R² where uniform) and its spread over time;
                skill = 1 − Huber(shift) / Huber(0) of the predicted shift over predicting none
    slots       mass of the largest and the smallest slot; how many share the frame, exp H(mass)
    posterior   standard deviation; active units, Var_x(μ_d) > 0.01

`diagnose` is cheap and runs in every update. `bound_gap` draws samples and belongs into a report.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aime_agent.functional.regularizers import map_movement, movement_skill
from aime_agent.functional.spatial import map_entropy
from aime_agent.representation.mixture import MixturePrior, mixture_metrics
from aime_agent.world_model.losses import SequenceData, masked_mean
from aime_agent.world_model.state import Belief

if TYPE_CHECKING:
    from aime_agent.world_model.sequence import Filtered

ACTIVE_VARIANCE = 0.01
"""A latent is active if its posterior mean varies more than this (Burda et al., 2016)."""


@torch.no_grad()
def diagnose(passed: "Filtered", data: SequenceData) -> dict[str, Tensor]:
    """Returns the use of all parts over a batch; what is switched off is left out."""
    beliefs, prior, tokens = passed.beliefs, passed.prior, passed.tokens
    if beliefs.mean is None or beliefs.std is None:
        return {}
    shares = prior.responsibilities(beliefs.mean, beliefs.std)
    used = mixture_metrics(prior.log_pi, shares, ~data.is_first)
    used_codes = {"codebook/perplexity": tokens.perplexity.detach()} if tokens.ids.numel() else {}
    varying = beliefs.mean.flatten(0, 1).var(0) > ACTIVE_VARIANCE
    return {
        **used_codes,
        "mixture/effective_components": used.effective_components,
        "mixture/mutual_information": used.mutual_information,
        "mixture/dead_fraction": used.dead_fraction,
        **attention_use(beliefs, ~data.is_first),
        **slot_use(beliefs),
        "posterior_std": beliefs.std.mean(),
        "posterior_active_units": varying.sum().to(beliefs.mean.dtype),
    }


def attention_use(beliefs: Belief, goes_on: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
    """Returns entropy of the bottom-up map, its spread over time, and the skill of its prediction.

    Args:
        beliefs: Stacked inferred beliefs ``[B, T, ...]``.
        goes_on: Frames that do not begin an episode.
    """
    seen, shift = beliefs.log_evidence, beliefs.shift
    if seen is None or shift is None:
        return {}
    maps = seen.exp()
    entropy = map_entropy(maps)
    moved = map_movement(torch.cat([beliefs.state.attention[:, :1], maps], dim=1))
    return {
        "attention/entropy": entropy.mean(),
        "attention/entropy_spread": entropy.std(1, correction=0).mean(),
        "attention/movement_skill": movement_skill(shift, moved, goes_on),
    }


def slot_use(beliefs: Belief) -> dict[str, Tensor]:
    """Returns what share of the frames the largest and the smallest slot explain, and N_eff."""
    shares = beliefs.responsibilities
    if shares is None:
        return {}
    mass = shares.mean(-1).flatten(0, -2).mean(0)
    return {
        "slots/largest_mass": mass.max(),
        "slots/smallest_mass": mass.min(),
        "slots/effective": torch.special.entr(mass).sum().exp(),
    }


@torch.no_grad()
def bound_gap(
    prior: MixturePrior,
    mean: Float[Tensor, "*b z"],
    std: Float[Tensor, "*b z"],
    include: Bool[Tensor, "*b"],
    samples: int = 256,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Returns the mean KL(q ‖ p) by Monte Carlo, and by how much U lies above it, in nats.

    Args:
        prior: p(z | h).
        mean: Of q.
        std: Of q.
        include: Which entries count.
        samples: Draws per entry; they come from a generator of their own.
    """
    noise = torch.Generator(device=mean.device).manual_seed(0)
    total, portion = torch.zeros_like(mean[..., 0]), 8
    rounds = -(-samples // portion)
    for _ in range(rounds):
        normal = mean.new_empty(portion, *mean.shape).normal_(generator=noise)
        total += prior.kl_mc(mean, std, normal) / rounds
    bound = prior.kl_bound(mean, std)
    return masked_mean(total, include), masked_mean(bound - total, include)
