"""Named loss terms, their weights inside a task, and the losses of the tasks.

    elbo        = reconstruction + β KL_z + 0.1 β KL_hierarchy + reward + continuation
                  + 0.1 consistency + 0.1 usage + Gram loss                        (weight 0)
    perceiver   = token reconstruction + commitment + token prediction + context prediction
    predictive  = β KL_A + 0.1 movement + slot transition + slot reconstruction + 0.05 diversity
    adversarial = generator + feature matching                                   (weights 0)
    control     = reward + continuation + consistency, taken out of elbo on demand

`combine` weighs the terms of our world model; `LossAggregator` reads the outputs under the seed
documents' key names and follows their formulas, in which ``cluster_entropy`` is subtracted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import ConfigError, nearest

TASKS = ("elbo", "perceiver", "predictive", "adversarial")
"""All tasks, in the order that balancers see them."""

CONTROL = ("reward", "continuation", "consistency")
"""Terms that may be taken out of *elbo* into a task of their own, named ``control``."""


class Term(NamedTuple):
    """One row of `TERMS`."""

    key: str
    """The name under which the term is published."""
    task: str
    weight: float
    annealed: bool = False
    """Whether β multiplies it."""


TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "reconstruction": Term("recon_loss", "elbo", 1.0),
        "kl_latent": Term("kl_z", "elbo", 1.0, annealed=True),
        "hierarchical_kl": Term("hierarchical_kl", "elbo", 0.1, annealed=True),
        "reward": Term("reward_loss", "elbo", 1.0),
        "continuation": Term("continuation_loss", "elbo", 1.0),
        "consistency": Term("consistency_loss", "elbo", 0.1),
        "usage": Term("cluster_entropy", "elbo", 0.1),
        "gram": Term("gram_enc_loss", "elbo", 0.0),
        "token_reconstruction": Term("token_reconstruction_loss", "perceiver", 1.0),
        "commitment": Term("perceiver_vq_loss", "perceiver", 1.0),
        "token_prediction": Term("perceiver_ce_loss", "perceiver", 1.0),
        "context_prediction": Term("context_prediction_loss", "perceiver", 1.0),
        "attention_kl": Term("attention_kl", "predictive", 1.0, annealed=True),
        "movement": Term("attention_dynamics_loss", "predictive", 0.1),
        "slot_transition": Term("slot_transition_loss", "predictive", 1.0),
        "slot_reconstruction": Term("slot_reconstruction_loss", "predictive", 1.0),
        "diversity": Term("attention_diversity", "predictive", 0.05),
        "attention_target": Term("attention_target_loss", "predictive", 1.0),
        "generator": Term("generator_loss", "adversarial", 0.0),
        "feature_matching": Term("feature_matching_loss", "adversarial", 0.0),
    }
)
"""Every term the world model may have; all are minimised."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of each term inside its task; the defaults are those of `TERMS`.

    ``commitment`` multiplies a loss that already holds the quantiser's own commitment weight;
    ``usage`` is a loss (log K − entropy), so its weight is the seeds' ``entropy_weight``.
    """

    reconstruction: float = 1.0
    kl_latent: float = 1.0
    hierarchical_kl: float = 0.1
    reward: float = 1.0
    continuation: float = 1.0
    consistency: float = 0.1
    usage: float = 0.1
    gram: float = 0.0
    token_reconstruction: float = 1.0
    commitment: float = 1.0
    token_prediction: float = 1.0
    context_prediction: float = 1.0
    attention_kl: float = 1.0
    movement: float = 0.1
    slot_transition: float = 1.0
    slot_reconstruction: float = 1.0
    diversity: float = 0.05
    attention_target: float = 1.0
    generator: float = 0.0
    feature_matching: float = 0.0

    def __post_init__(self) -> None:
        """Checks that no weight is negative."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"LossWeights.{field.name} must be at least 0, found {value}")


class TaskLosses(NamedTuple):
    """The losses of one batch."""

    total: Float[Tensor, ""]
    """Sum over the tasks."""
    tasks: dict[str, Tensor]
    """Weighted scalar per task; a task without terms (or with weights 0 only) is absent."""
    terms: dict[str, Tensor]
    """Unweighted scalar per term, by its name in `TERMS`."""

    def per_task(self) -> list[Tensor | None]:
        """Returns one entry for each of `TASKS`, None where absent: what a balancer takes.

        A control task, where there is one, comes last.
        """
        names = (*TASKS, "control") if "control" in self.tasks else TASKS
        return [self.tasks.get(task) for task in names]

    def public(self) -> dict[str, Tensor]:
        """Returns the detached terms under their published keys."""
        return {TERMS[name].key: value.detach() for name, value in self.terms.items()}


def combine(
    terms: Mapping[str, Tensor],
    weights: LossWeights | None = None,
    beta: float | Float[Tensor, ""] = 1.0,
    control_task: bool = False,
) -> TaskLosses:
    """Averages each term over batch and time and sums them up by task.

    Args:
        terms: Terms by their name in `TERMS`, scalar or ``[B, T]``; leave out what is absent.
        weights: Weights inside the tasks.
        beta: Annealing factor of the three KL terms.
        control_task: Whether `CONTROL` is a task of its own.

    >>> out = combine({"reconstruction": torch.tensor(3.0), "kl_latent": torch.ones(2, 4)}, beta=0.5)
    >>> out.total, list(out.tasks)
    (tensor(3.5000), ['elbo'])
    """
    unknown = sorted(set(terms) - set(TERMS))
    if unknown:
        raise ConfigError(f"unknown loss term {unknown[0]!r}. {nearest(unknown[0], TERMS)}")
    if not terms:
        raise ConfigError("combine: at least one loss term required, found none")
    weight = asdict(weights or LossWeights())
    scalars = {name: value.mean() for name, value in terms.items()}
    tasks: dict[str, Tensor] = {}
    for name, value in scalars.items():
        if weight[name]:
            task = "control" if control_task and name in CONTROL else TERMS[name].task
            share = weight[name] * value * (beta if TERMS[name].annealed else 1.0)
            tasks[task] = tasks[task] + share if task in tasks else share
    ordered = {task: tasks[task] for task in (*TASKS, "control") if task in tasks}
    total = torch.stack([*ordered.values(), *_nothing(scalars, ordered)]).sum()
    return TaskLosses(total, ordered, scalars)


class LossParts(NamedTuple):
    """A weighted loss and its unweighted parts, under the seeds' key names."""

    total: Float[Tensor, ""]
    parts: dict[str, Tensor]


class ELBOLoss:
    """recon + β (KL_z + KL_hierarchy) − w H + λ Gram, from the seeds' outputs."""

    def __call__(
        self,
        outputs: Mapping[str, Any],
        beta: float = 1.0,
        entropy_weight: float = 0.1,
        lambda_recon: float = 1.0,
        lambda_gram: float = 0.05,
        observations: Float[Tensor, "B T *image"] | None = None,
    ) -> LossParts:
        """Returns the evidence bound's loss.

        Args:
            outputs: Mapping with the seeds' keys; values are scalars, tensors or lists over time.
            beta: Annealing factor of the KL terms.
            entropy_weight: Weight of the mixture's entropy, which is subtracted.
            lambda_recon: Weight of the reconstruction.
            lambda_gram: Weight of ``gram_enc``.
            observations: Serves the reconstruction (½ squared error, summed over pixels) where
                ``outputs`` holds ``reconstructions`` but no ``reconstruction_losses``.
        """
        parts = {
            "recon_loss": _reconstruction(outputs, observations),
            "kl_z": _read(outputs, "kl_latents"),
            "hierarchical_kl": _read(outputs, "kumaraswamy_kl_losses"),
            "cluster_entropy": _read(outputs, "cluster_entropies"),
            "gram_enc_loss": _read(outputs, "gram_enc"),
        }
        divergence = beta * (parts["kl_z"] + parts["hierarchical_kl"])
        bound = lambda_recon * parts["recon_loss"] + divergence
        regular = lambda_gram * parts["gram_enc_loss"] - entropy_weight * parts["cluster_entropy"]
        return LossParts(bound + regular, parts)


class PerceiverLoss:
    """The tokenizer's and predictor's own loss."""

    def __call__(self, outputs: Mapping[str, Any]) -> LossParts:
        """Reads ``perceiver_total_loss``."""
        total = _read(outputs, "perceiver_total_loss")
        return LossParts(total, {"perceiver_loss": total})


class PredictiveLoss:
    """β KL_A + λ movement + diversity."""

    def __call__(
        self, outputs: Mapping[str, Any], beta: float = 1.0, lambda_att_dyn: float = 0.1
    ) -> LossParts:
        """Returns the attention schema's loss.

        Args:
            outputs: Mapping with the seeds' keys.
            beta: Annealing factor of the attention KL.
            lambda_att_dyn: Weight of the movement loss.
        """
        parts = {
            "attention_kl": _read(outputs, "attention_losses"),
            "attention_dynamics_loss": _read(outputs, "attention_dynamics_loss"),
            "attention_diversity": _read(outputs, "attention_diversity_losses"),
        }
        movement = lambda_att_dyn * parts["attention_dynamics_loss"]
        return LossParts(
            beta * parts["attention_kl"] + movement + parts["attention_diversity"], parts
        )


class LossAggregator:
    """The seeds' aggregator: outputs of a forward pass to a dictionary and three task losses.

    >>> losses, tasks = LossAggregator().compute_losses({"kl_latents": [torch.tensor(2.0)]})
    >>> losses["total_elbo"], len(tasks)
    (tensor(2.), 3)
    """

    def __init__(self) -> None:
        self.elbo, self.perceiver, self.predictive = ELBOLoss(), PerceiverLoss(), PredictiveLoss()

    def compute_losses(
        self,
        outputs: Mapping[str, Any],
        beta: float = 1.0,
        entropy_weight: float = 0.1,
        lambda_recon: float = 1.0,
        lambda_att_dyn: float = 0.1,
        lambda_gram: float = 0.05,
        observations: Float[Tensor, "B T *image"] | None = None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Returns all losses by name, and [elbo, perceiver, predictive] for a balancer.

        Missing outputs count as 0. The attention KL belongs to the predictive task;
        ``total_elbo`` shows it again, so do not add the two totals.

        Args:
            outputs: Mapping with the seeds' keys; values are scalars, tensors or lists over time.
            beta: Annealing factor of the KL terms.
            entropy_weight: Weight of the mixture's entropy, which is subtracted.
            lambda_recon: Weight of the reconstruction.
            lambda_att_dyn: Weight of the attention's movement loss.
            lambda_gram: Weight of ``gram_enc``.
            observations: See `ELBOLoss`.
        """
        elbo = self.elbo(outputs, beta, entropy_weight, lambda_recon, lambda_gram, observations)
        perceiver = self.perceiver(outputs)
        predictive = self.predictive(outputs, beta, lambda_att_dyn)
        losses = elbo.parts | perceiver.parts | predictive.parts
        losses |= {
            "total_vae_loss": elbo.total,
            "attention_loss": predictive.total,
            "total_elbo": elbo.total + beta * predictive.parts["attention_kl"],
            "total_predictive": predictive.total,
        }
        return losses, [elbo.total, perceiver.total, predictive.total]

    def get_all_metrics(self, outputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Returns the losses at their default weights and every scalar output, detached."""
        losses, _ = self.compute_losses(outputs)
        scalars = {
            name: value
            for name in outputs
            if isinstance(value := outputs[name], Tensor) and value.ndim == 0
        }
        return {name: value.detach() for name, value in (scalars | losses).items()}


def _nothing(scalars: dict[str, Tensor], tasks: dict[str, Tensor]) -> list[Tensor]:
    """A zero for the total when no task is left."""
    return [] if tasks else [torch.zeros_like(next(iter(scalars.values())))]


def _read(outputs: Mapping[str, Any], key: str) -> Tensor:
    """The mean of an output over batch and time; 0 where it is missing or empty."""
    value = outputs.get(key)
    if isinstance(value, Tensor):
        return value.mean()
    if isinstance(value, Sequence):
        steps = [torch.as_tensor(step).mean() for step in value]
        return torch.stack(steps).mean() if steps else _zero(outputs)
    return _zero(outputs) if value is None else _zero(outputs) + value


def _zero(outputs: Mapping[str, Any]) -> Tensor:
    """A zero where the other outputs live."""
    found = (outputs[name] for name in outputs)
    like = next((v for v in found if isinstance(v, Tensor) and v.is_floating_point()), None)
    device = outputs.get("device")
    return torch.zeros((), device=device) if like is None else like.new_zeros(())


def _reconstruction(outputs: Mapping[str, Any], observations: Tensor | None) -> Tensor:
    made = outputs.get("reconstructions")
    if observations is None or made is None or "reconstruction_losses" in outputs:
        return _read(outputs, "reconstruction_losses")
    made = made if isinstance(made, Tensor) else torch.stack(list(made), dim=1)
    return (observations - made).square().flatten(2).sum(-1).mean() / 2
