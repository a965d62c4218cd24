"""What `forward_sequence` returns: typed fields, and the seed documents' keys.

``output["reconstructions"]`` and ``output.reconstructions`` are the same. The seeds' keys for losses
need a pass with losses (training mode, or `compute_total_loss`).
"""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import nearest
from aime_agent.representation.dpgmm_prior import MixturePrior
from aime_agent.world_model.state import AttentionView, Belief, TokenEvidence


@dataclass(frozen=True, kw_only=True)
class WorldModelOutput(Mapping[str, Any]):
    """A filtered sequence; tensors are ``[B, T, ...]``."""

    observations: Float[Tensor, "B T C H W"]
    reconstructions: Float[Tensor, "B T C H W"]
    """Decoded frames in [0, 1]."""
    beliefs: Belief
    last: Belief
    """Belief at the last frame, to go on from."""
    prior: MixturePrior
    view: AttentionView
    tokens: TokenEvidence
    predicted_rewards: Float[Tensor, "B T"]
    predicted_continues: Float[Tensor, "B T"]
    token_frames: Callable[[], Float[Tensor, "B T C H W"]]
    """Decodes the frames from their tokens, when somebody asks for them."""
    terms: Mapping[str, Tensor]
    """Loss terms by their names in `TERMS`; empty if no losses were asked for."""

    @property
    def attention_maps(self) -> Float[Tensor, "B T R R"]:
        """A_t."""
        return self.view.map

    @property
    def slot_attention_maps(self) -> Float[Tensor, "B T S R R"]:
        """One map per slot, each sums to 1."""
        return self.view.slot_maps

    @property
    def slot_centers(self) -> Float[Tensor, "B T S 2"]:
        """(x, y) in [-1, 1]."""
        return self.view.centers

    @property
    def slot_mass(self) -> Float[Tensor, "B T S"]:
        """Share of the frame that each slot explains."""
        return self.view.mass

    def __getitem__(self, key: str) -> Any:
        """Returns a field, or what a seed document calls so."""
        if key in _FIELDS:
            return getattr(self, key)
        if key in self._views():
            return _VIEWS[key](self)
        if key in self._losses():
            return _LOSSES[key](self.terms)
        raise KeyError(f"{key!r}{_why_not(key)}")

    def __iter__(self) -> Iterator[str]:
        """Yields the keys that this pass has."""
        yield from (*_FIELDS, *self._views(), *self._losses())

    def __len__(self) -> int:
        return len(_FIELDS) + len(self._views()) + len(self._losses())

    def _views(self) -> list[str]:
        """Seed keys that need no loss; frames decoded from tokens only where there are tokens."""
        have_tokens = self.tokens.ids.numel() > 0
        return [key for key in _VIEWS if have_tokens or key != "perceiver_reconstructed_img"]

    def _losses(self) -> list[str]:
        """Seed keys of the losses that this pass has."""
        terms = self.terms.keys()
        return [key for key in _LOSSES if terms and terms >= _NEEDS.get(key, set())]


def _why_not(key: str) -> str:
    if key == "gram_enc":
        return " needs a slow copy of the model: compute_total_loss(..., teacher=EMA(model).module)"
    if key in _LOSSES:
        return (
            " is a loss that this pass did not compute: its pillar is switched off, or call "
            "compute_total_loss, or forward_sequence in training mode"
        )
    if key in _VIEWS:
        return ": the model has no tokenizer (context='none')"
    if key in _ABSENT:
        return f": {_ABSENT[key]}"
    return f". {nearest(key, [*_FIELDS, *_VIEWS, *_LOSSES])}"


def _movements(out: WorldModelOutput) -> list[Tensor]:
    """Predicted movement between frames, T − 1 of them: what leads to frame 0 is not asked for."""
    shift = out.beliefs.shift
    return [] if shift is None else list(shift[:, 1:].unbind(1))


def _group_assignments(out: WorldModelOutput) -> Tensor | None:
    """Responsibilities ``[B, T, R, R, S]``; they sum to 1 over slots."""
    shares, side = out.beliefs.responsibilities, out.view.slot_maps.shape[-1]
    return None if shares is None else shares.unflatten(-1, (side, side)).movedim(2, -1)


def _prior_params(out: WorldModelOutput) -> dict[str, Tensor]:
    """The mixture under the seeds' names; ``alpha`` is the concentration's mean, not a draw."""
    prior = out.prior
    return {
        "pi": prior.log_pi.exp(),
        "means": prior.means,
        "log_vars": 2 * prior.stds.log(),
        "kumar_a": prior.log_a.exp(),
        "kumar_b": prior.log_b.exp(),
        "alpha": (prior.gamma_shape / prior.gamma_rate).unsqueeze(-1),
    }


def _posterior_params(out: WorldModelOutput) -> dict[str, Tensor | None]:
    mean, std = out.beliefs.mean, out.beliefs.std
    logvar = None if std is None else 2 * std.log()
    return {"mean": mean, "mu": mean, "std": std, "logvar": logvar}


def _perceiver_total(terms: Mapping[str, Tensor]) -> Tensor:
    names = ("token_reconstruction", "commitment", "token_prediction", "context_prediction")
    return torch.stack([terms[name].mean() for name in names]).sum()


_FIELDS = (
    *(f.name for f in fields(WorldModelOutput)),
    "attention_maps",
    "slot_attention_maps",
    "slot_centers",
    "slot_mass",
)

_VIEWS: Mapping[str, Callable[[WorldModelOutput], Any]] = {
    "reconstruction": lambda o: o.reconstructions,
    "latents": lambda o: o.beliefs.z,
    "z_means": lambda o: o.beliefs.mean,
    "z_logvars": lambda o: _posterior_params(o)["logvar"],
    "hidden_states": lambda o: o.beliefs.state.hidden,
    "context_states": lambda o: o.beliefs.context,
    "context_sequence": lambda o: o.beliefs.context,
    "slot_features": lambda o: o.beliefs.slots,
    "attention_features": lambda o: o.beliefs.slots,
    "attention_states": lambda o: o.view.map,
    "group_assignments": _group_assignments,
    "predicted_movements": _movements,
    "prior_params": _prior_params,
    "posterior_params": _posterior_params,
    "K_eff": lambda o: (o.prior.log_pi.exp() * -o.prior.log_pi).sum(-1).exp().mean(),
    "perceiver_reconstructed_img": lambda o: o.token_frames(),
    "perplexity": lambda o: o.tokens.perplexity,
}
"""Seed key → what it reads in any pass."""

_LOSSES: Mapping[str, Callable[[Mapping[str, Tensor]], Any]] = {
    "kl_losses": lambda t: list(t["kl_latent"].unbind(1)),
    "kl_latents": lambda t: list(t["kl_latent"].unbind(1)),
    "reconstruction_losses": lambda t: list(t["reconstruction"].unbind(1)),
    "kumaraswamy_kl_losses": lambda t: list(t["hierarchical_kl"].unbind(1)),
    "attention_losses": lambda t: [t["attention_kl"]],
    # An entropy, to be maximised: subtracting it adds the usage loss.
    "cluster_entropies": lambda t: [-t["usage"]],
    "gram_enc": lambda t: [t["gram"]],
    "attention_diversity_losses": lambda t: [t["diversity"]],
    "dynamics_loss": lambda t: t["movement"],
    "attention_dynamics_loss": lambda t: t["movement"],
    "diversity_loss": lambda t: t["diversity"],
    "perceiver_vq_loss": lambda t: t["commitment"],
    "perceiver_ce_loss": lambda t: t["token_prediction"],
    "perceiver_total_loss": _perceiver_total,
}
"""Seed key → what it reads in a pass with losses."""

_NEEDS: Mapping[str, Set[str]] = {
    "gram_enc": {"gram"},
    "attention_losses": {"attention_kl"},
    "dynamics_loss": {"movement"},
    "attention_dynamics_loss": {"movement"},
    "attention_diversity_losses": {"diversity"},
    "diversity_loss": {"diversity"},
    "perceiver_vq_loss": {"commitment"},
    "perceiver_ce_loss": {"token_prediction"},
    "perceiver_total_loss": {"token_prediction", "context_prediction"},
}
"""Seed key → terms that a pass lacks where their pillar is off, or where nothing follows a frame."""

_ABSENT: Mapping[str, str] = {
    "mdl_params": "the likelihood is a Gaussian or one logistic (`likelihood`), not a mixture of "
    "logistics; its mean is 'reconstructions'",
    "perceiver_perceptual_loss": "the tokenizer is trained on pixels, without a perceptual network; "
    "see terms['token_reconstruction']",
}
"""Seed keys that no pass has → why."""
