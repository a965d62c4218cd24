"""Terms, weights, tasks, and the seeds' aggregator against sums by hand."""

from dataclasses import asdict, fields, replace

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.optimization import (
    TASKS,
    TERMS,
    ELBOLoss,
    LossAggregator,
    LossWeights,
    PerceiverLoss,
    PredictiveLoss,
    combine,
)

SEED_KEYS = {
    "recon_loss", "kl_z", "hierarchical_kl", "attention_kl", "cluster_entropy", "gram_enc_loss",
    "total_elbo", "perceiver_loss", "attention_dynamics_loss", "attention_diversity",
    "total_predictive", "total_vae_loss", "attention_loss",
}  # fmt: skip


@pytest.fixture
def outputs():
    torch.manual_seed(0)
    lists = (
        "reconstruction_losses", "kl_latents", "kumaraswamy_kl_losses", "attention_losses",
        "cluster_entropies", "gram_enc", "attention_diversity_losses",
    )  # fmt: skip
    out = {name: [torch.rand(()) + 1 for _ in range(5)] for name in lists}
    return out | {
        "perceiver_total_loss": torch.tensor(2.0),
        "attention_dynamics_loss": torch.tensor(0.3),
    }


def mean(outputs, key):
    return torch.stack(outputs[key]).mean()


def test_terms_and_weights_agree():
    assert asdict(LossWeights()) == {name: term.weight for name, term in TERMS.items()}
    assert {term.task for term in TERMS.values()} == set(TASKS)
    assert len({term.key for term in TERMS.values()}) == len(TERMS)


def test_combine_equals_the_sum_by_hand():
    terms = {
        "reconstruction": torch.rand(2, 3),
        "kl_latent": torch.rand(2, 3),
        "movement": torch.rand(()),
    }
    out = combine(terms, LossWeights(movement=0.2), beta=0.5)
    elbo = terms["reconstruction"].mean() + 0.5 * terms["kl_latent"].mean()
    torch.testing.assert_close(out.tasks["elbo"], elbo)
    torch.testing.assert_close(out.total, elbo + 0.2 * terms["movement"])


@pytest.mark.parametrize("name", [f.name for f in fields(LossWeights)])
def test_every_weight_acts(name):
    x = torch.tensor(2.0, requires_grad=True)
    terms = {"reward": torch.tensor(1.0)} | {name: x}
    weights = replace(LossWeights(), **{name: 3.0})
    combine(terms, weights).tasks[TERMS[name].task].backward()
    assert x.grad == 3


@pytest.mark.parametrize("name", ["kl_latent", "hierarchical_kl", "attention_kl"])
def test_beta_anneals_the_divergences(name):
    value = {name: torch.tensor(1.0)}
    torch.testing.assert_close(combine(value, beta=0.25).total, 0.25 * combine(value).total)


def test_absent_tasks_are_not_counted():
    out = combine({"reconstruction": torch.tensor(1.0), "generator": torch.tensor(9.0)})
    assert list(out.tasks) == ["elbo"]
    assert out.per_task()[1:] == [None, None, None]
    assert out.public() == {"recon_loss": torch.tensor(1.0), "generator_loss": torch.tensor(9.0)}


def test_total_is_zero_when_all_weights_are():
    assert combine({"generator": torch.tensor(9.0)}).total == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: combine({"reconstuction": torch.zeros(())}), "'reconstruction'"),
        (lambda: combine({}), "at least one"),
        (lambda: LossWeights(reward=-1.0), "LossWeights.reward"),
    ],
)
def test_misuse_is_named(call, text):
    with pytest.raises(ConfigError, match=text):
        call()


def test_aggregate_equals_the_sum_by_hand(outputs):
    settings = {
        "beta": 0.7,
        "entropy_weight": 0.2,
        "lambda_recon": 2.0,
        "lambda_att_dyn": 0.4,
        "lambda_gram": 0.3,
    }
    losses, tasks = LossAggregator().compute_losses(outputs, **settings)
    elbo = 2 * mean(outputs, "reconstruction_losses") + 0.3 * mean(outputs, "gram_enc")
    elbo += 0.7 * (mean(outputs, "kl_latents") + mean(outputs, "kumaraswamy_kl_losses"))
    elbo -= 0.2 * mean(outputs, "cluster_entropies")
    attention = 0.7 * mean(outputs, "attention_losses")
    predictive = attention + 0.4 * 0.3 + mean(outputs, "attention_diversity_losses")
    expected = torch.stack([elbo, torch.tensor(2.0), predictive])
    torch.testing.assert_close(torch.stack(tasks), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["total_elbo"], elbo + attention, rtol=1e-5, atol=0)
    assert set(losses) == SEED_KEYS


@pytest.mark.parametrize(
    "name", ["beta", "entropy_weight", "lambda_recon", "lambda_att_dyn", "lambda_gram"]
)
def test_every_keyword_acts(outputs, name):
    _, usual = LossAggregator().compute_losses(outputs)
    _, changed = LossAggregator().compute_losses(outputs, **{name: 5.0})
    assert torch.stack(usual).ne(torch.stack(changed)).any()


def test_observations_serve_the_reconstruction():
    frames, made = torch.rand(2, 3, 1, 4, 4), torch.rand(2, 3, 1, 4, 4)
    expected = (frames - made).square().sum((2, 3, 4)).mean() / 2
    for form in (made, list(made.unbind(1))):
        losses, _ = LossAggregator().compute_losses({"reconstructions": form}, observations=frames)
        torch.testing.assert_close(losses["recon_loss"], expected)


def test_missing_outputs_count_as_zero():
    losses, tasks = LossAggregator().compute_losses({})
    assert set(losses) == SEED_KEYS
    assert torch.stack(tasks).tolist() == [0, 0, 0]


def test_lists_and_tensors_agree(outputs):
    tensors = {k: torch.stack(v) if isinstance(v, list) else v for k, v in outputs.items()}
    _, a = LossAggregator().compute_losses(outputs)
    _, b = LossAggregator().compute_losses(tensors)
    torch.testing.assert_close(a, b)


def test_single_losses_equal_the_tasks(outputs):
    _, tasks = LossAggregator().compute_losses(outputs)
    singles = [loss(outputs).total for loss in (ELBOLoss(), PerceiverLoss(), PredictiveLoss())]
    torch.testing.assert_close(singles, tasks)


def test_metrics_hold_losses_and_scalars_without_graph(outputs):
    outputs["K_eff"] = torch.tensor(3.0, requires_grad=True)
    metrics = LossAggregator().get_all_metrics(outputs)
    assert set(metrics) >= SEED_KEYS | {"K_eff"}
    assert not any(v.requires_grad for v in metrics.values())
