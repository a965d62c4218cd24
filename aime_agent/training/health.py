"""What a trained model's parts do on held-out frames, beside what `pillars` says they are worth.

A row is well unless a part is plainly dead: a codebook that uses less than a tenth of its codes, a
map within 0.05 nats of uniform. Few components in use are not called ill, as a deterministic task may
need no more than one per state; nor is a skill below 0, which a map that hardly moves has by chance.
"""

import math

import torch

from aime_agent.world_model.diagnostics import bound_gap, diagnose
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.sequence import pass_over

Row = tuple[str, str, bool, str]
"""Name, finding, whether it is well, what to do if not."""

UNIFORM_WITHIN = 0.05
"""Nats below the uniform map's entropy that count as a map."""


@torch.no_grad()
def health_rows(model: AimeWorldModel, data: SequenceData) -> list[Row]:
    """Returns one row for each of mixture, codebook, attention and slots that the model has.

    Args:
        model: The world model, in eval mode.
        data: Windows that it has not learned from.
    """
    passed = pass_over(model, data, sample=False)
    found = {name: float(value) for name, value in diagnose(passed, data).items()}
    rows = [_mixture(model, passed.prior.log_pi.shape[-1], found)]
    beliefs = passed.beliefs
    if beliefs.mean is not None and beliefs.std is not None:
        kl, gap = bound_gap(passed.prior, beliefs.mean, beliefs.std, ~data.is_first)
        text = f"KL {kl:.2f} nats by Monte Carlo, the bound {gap:.2f} above it"
        rows.append(("bound", text, True, ""))
    if "codebook/perplexity" in found:
        rows.append(_codebook(model, found["codebook/perplexity"]))
    if "attention/entropy" in found:
        rows.append(_attention(model, found))
    if "slots/effective" in found:
        rows.append(_slots(model, found))
    return rows


def _mixture(model: AimeWorldModel, components: int, found: dict[str, float]) -> Row:
    units = f"{found['posterior_active_units']:.0f} of {model.config.latent_dim} latents active"
    if components == 1:
        return "mixture", f"off: one component, by max_components=1; {units}", True, ""
    text = (
        f"{found['mixture/effective_components']:.2f} of {components} components in use, mutual "
        f"information {found['mixture/mutual_information']:.2f} nats, "
        f"{100 * found['mixture/dead_fraction']:.0f} % dead; {units}"
    )
    return "mixture", text, True, ""


def _codebook(model: AimeWorldModel, perplexity: float) -> Row:
    codes = model.config.perceiver_config().num_codes
    return (
        "codebook",
        f"perplexity {perplexity:.0f} of {codes}",
        perplexity >= codes / 10,
        "fewer codes (perceiver.num_codes), or quantizer='fsq', which has none to lose",
    )


def _attention(model: AimeWorldModel, found: dict[str, float]) -> Row:
    uniform = 2 * math.log(model.config.attention_resolution)
    entropy, skill = found["attention/entropy"], found["attention/movement_skill"]
    text = (
        f"entropy {entropy:.2f} ± {found['attention/entropy_spread']:.2f} nats over time (uniform "
        f"{uniform:.2f}), skill of the predicted movement over none {skill:+.2f}"
    )
    seen = entropy <= uniform - UNIFORM_WITHIN
    return "attention", text, seen, "the map is uniform; train longer or leave it out"


def _slots(model: AimeWorldModel, found: dict[str, float]) -> Row:
    text = (
        f"{found['slots/effective']:.2f} of {model.config.num_slots} share the frame, masses "
        f"{found['slots/smallest_mass']:.2f} to {found['slots/largest_mass']:.2f}"
    )
    return "slots", text, True, ""
