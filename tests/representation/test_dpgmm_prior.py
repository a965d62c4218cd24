"""DPGMMPrior and MixturePrior: laws, the seeds' calls, and the bimodal toy."""

import math

import pytest
import torch
from torch.distributions import kl_divergence

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.gaussian import DiagonalGaussian
from aime_agent.optimization.schedules import ramp
from aime_agent.representation import DPGMMPrior, mixture_metrics, usage_gap

SMALL = {"max_components": 4, "latent_dim": 3, "hidden_dim": 5, "num_features": 8}


def random_prior(**kw):
    torch.manual_seed(0)
    prior = DPGMMPrior(**{**SMALL, **kw})
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return prior


def test_starts_uniform_with_unit_stds_and_spread_centred_means():
    prior = DPGMMPrior(hidden_dim=5).infer(torch.randn(2, 5))
    assert torch.allclose(prior.log_pi.exp(), torch.full((2, 15), 1 / 15), atol=1e-6)
    assert torch.allclose(prior.stds, torch.ones(2, 15, 36), atol=1e-5)
    bias = DPGMMPrior(hidden_dim=5).output.bias[: 15 * 36].view(15, 36)
    assert bias.mean(0).abs().max() < 1e-5
    assert 0.8 < bias.std().item() < 1.1


def test_starts_at_the_hyper_prior():
    prior = DPGMMPrior(**SMALL, prior_alpha=6.0, prior_beta=2.0)
    out = prior.infer(torch.randn(2, 5))
    assert torch.allclose(out.gamma_shape / out.gamma_rate, torch.full((2,), 3.0), rtol=1e-5)


def test_forward_serves_the_seeds_keys():
    prior = random_prior()
    out = prior(torch.randn(2, 5), n_samples=6)
    shapes = {"pi": (2, 4), "alpha": (2, 6), "means": (2, 4, 3), "log_vars": (2, 4, 3)}
    shapes |= {"kumar_a": (2, 3), "kumar_b": (2, 3), "v": (2, 3), "perm": (3,)}
    assert all(out[k].shape == size for k, size in shapes.items())
    assert set(out.keys()) == {*shapes, "active_components"}
    assert "pi" in out
    distribution, params = out
    assert distribution.sample().shape == (2, 3)
    assert params["pi"] is out["pi"]


def test_mixture_agrees_with_torch():
    prior = random_prior().infer(torch.randn(2, 5))
    z = torch.randn(2, 3)
    assert torch.allclose(prior.mixture().log_prob(z), prior.log_prob(z), atol=1e-5)
    mean, std = prior.moments()
    assert torch.allclose(prior.mixture().mean, mean, atol=1e-5)
    assert torch.allclose(prior.mixture().stddev, std, atol=1e-4)


def test_bound_and_monte_carlo_agree_in_order():
    module = random_prior()
    out = module(torch.randn(4, 5))
    mean, logvar = torch.randn(4, 3), torch.zeros(4, 3)
    estimate = module.compute_kl_divergence_mc(mean, logvar, out, n_samples=20_000)
    bound = out.prior.kl_bound(mean, torch.exp(0.5 * logvar)).mean()
    assert estimate < bound + 0.02
    assert (
        out.prior.kl_bound(mean, mean.exp(), 3.0).mean()
        > out.prior.kl_bound(mean, mean.exp()).mean()
    )


def test_one_component_is_a_gaussian():
    module = random_prior(max_components=1)
    prior = module.infer(torch.randn(2, 5))
    q = DiagonalGaussian(torch.randn(2, 3), torch.ones(2, 3))
    want = q.kl(DiagonalGaussian(prior.means[:, 0], prior.stds[:, 0]))
    assert torch.allclose(prior.kl_bound(*q), want, atol=1e-5)
    assert module.regulariser(prior).isfinite().all()
    assert prior.sample(q.mean, torch.rand(2)).shape == (2, 3)
    assert module(torch.randn(2, 5))["pi"].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("components", [1, 4])
def test_every_parameter_gets_a_gradient(components):
    module = random_prior(max_components=components)
    prior = module.infer(torch.randn(6, 5))
    loss = prior.kl_bound(torch.randn(6, 3), torch.ones(6, 3)) + module.regulariser(prior)
    loss.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())
    assert (module.output.weight.grad.abs().sum(-1) > 0).all()


def test_regulariser_is_the_hierarchical_kl():
    module = random_prior()
    h = torch.randn(3, 5)
    out = module(h, n_samples=50_000)
    exact = module.regulariser(out.prior)
    assert (exact > 0).all()
    assert module.compute_kl_loss(out).item() == pytest.approx(exact.mean().item(), rel=1e-6)
    drawn = module.compute_kl_loss(out, out["alpha"], h).item()
    assert drawn == pytest.approx(exact.mean().item(), rel=0.03)


def test_kl_loss_reads_the_given_features():
    module = random_prior()
    out, other = module(torch.randn(3, 5)), torch.randn(3, 5)
    assert module.compute_kl_loss(out, h=other) != module.compute_kl_loss(out)


def test_drawn_sticks_average_to_the_mean_weights():
    module = random_prior(uniform_mix=0.0)
    h = torch.randn(1, 5).expand(20_000, 5)
    drawn = module.infer(h, torch.empty(20_000, 3).exponential_()).log_pi.exp().mean(0)
    assert torch.allclose(drawn, module.infer(h).log_pi[0].exp(), atol=0.02)
    sampled = random_prior(sticks="sampled")(h[:2])
    assert not torch.equal(sampled["pi"][0], sampled["pi"][1])


def test_step_batches_equal_sequences_and_singles():
    module = random_prior().double()
    h = torch.randn(2, 7, 5).double()
    together, single = module.infer(h), module.infer(h[1, 3][None])
    assert all(torch.allclose(a[1, 3], b[0]) for a, b in zip(together, single, strict=True))
    assert not any(x.requires_grad for x in together.detach())


def test_responsibilities_and_effective_components():
    module = random_prior()
    out = module(torch.randn(2, 5))
    r = module.compute_responsibilities(out["means"][:, 1], out)
    assert torch.allclose(r.sum(-1), torch.ones(2))
    assert torch.allclose(
        r, out.prior.responsibilities(out["means"][:, 1], torch.full((2, 3), 1e-4))
    )
    assert module.get_effective_components(torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [2]


def test_metrics_by_hand():
    r = torch.eye(4)[[0, 0, 1, 1, 2]]
    log_pi = torch.full((5, 4), 0.25).log()
    m = mixture_metrics(log_pi, r, torch.tensor([True, True, True, True, False]))
    assert m.effective_components.item() == pytest.approx(2.0)
    assert m.mutual_information.item() == pytest.approx(math.log(2))
    assert m.weight_entropy.item() == pytest.approx(math.log(4))
    assert m.dead_fraction.item() == 0.5
    assert usage_gap(torch.eye(4)).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_components", 6), ("latent_dim", 4), ("hidden_dim", 6), ("num_features", 9)],
)
def test_sizes_act(name, value):
    counts = {
        sum(p.numel() for p in DPGMMPrior(**{**SMALL, **kw}).parameters())
        for kw in ({}, {name: value})
    }
    assert len(counts) == 2


def test_other_keywords_act():
    h = torch.randn(2, 5)
    sharp = random_prior(uniform_mix=0.0).infer(h).log_pi.exp()
    assert torch.allclose(random_prior(uniform_mix=0.5).infer(h).log_pi.exp(), 0.5 * sharp + 0.125)
    raised = random_prior(min_std=0.5).infer(h).stds - random_prior(min_std=0.1).infer(h).stds
    assert torch.allclose(raised, torch.full_like(raised, 0.4), atol=1e-6)
    assert DPGMMPrior(**SMALL, spread=0.0).output.bias[:12].abs().max() == 0
    losses = [
        random_prior(prior_alpha=a, prior_beta=b) for a, b in ((1.0, 1.0), (6.0, 1.0), (1.0, 2.0))
    ]
    assert len({p.regulariser(p.infer(h))[0].item() for p in losses}) == 3
    assert DPGMMPrior(**SMALL, device="cpu").output.bias.device.type == "cpu"


def test_errors_name_the_remedy():
    with pytest.raises(ShapeError, match=r"must be 768, found 512.*torch.cat\(\[hidden, context\]"):
        DPGMMPrior()(torch.randn(2, 512))
    with pytest.raises(ConfigError, match="max_components must be 1 to 128, found 0"):
        DPGMMPrior(max_components=0)
    with pytest.raises(ConfigError, match="uniform_mix must be in"):
        DPGMMPrior(uniform_mix=1.0)
    with pytest.raises(ConfigError, match="'mean' or 'sampled', found 'both'"):
        DPGMMPrior(sticks="both")
    with pytest.raises(ConfigError, match=r"'max_component'.*'max_components'"):
        DPGMMPrior(max_component=3)


def two_modes(count):
    """±1 with a standard deviation of 0.1: a mixture gains 1.614 nats over the best Gaussian."""
    return torch.where(torch.rand(count, 1) < 0.5, -1.0, 1.0) + 0.1 * torch.randn(count, 1)


def fitted_to_two_modes(components, steps=300):
    torch.manual_seed(0)
    sizes = {"latent_dim": 1, "hidden_dim": 2, "num_features": 16, "min_std": 0.05}
    module = DPGMMPrior(max_components=components, **sizes)
    optimiser = torch.optim.Adam(module.parameters(), 4e-2)
    for step in range(steps):
        z, prior = two_modes(128), module.infer(torch.ones(128, 2))
        optimiser.zero_grad()
        tau = ramp(step, max(components / 2, 1.0), 1.0, steps / 3)
        bound = prior.kl_bound(z, torch.full_like(z, 0.02), tau)
        (bound + 0.01 * module.regulariser(prior)).mean().backward()
        optimiser.step()
    return module


@torch.no_grad()
def score_on_two_modes(module):
    """Nats above the best single Gaussian, and how the components are used."""
    z = two_modes(20_000)
    prior = module.infer(torch.ones(20_000, 2))
    gaussian = 0.5 * math.log(2 * math.pi * math.e * 1.01)
    shares = prior.responsibilities(z, torch.full_like(z, 0.02))
    return gaussian + prior.log_prob(z).mean().item(), mixture_metrics(prior.log_pi, shares)


def test_bimodal_toy_recovers_the_second_mode_with_two_components():
    gain, used = score_on_two_modes(fitted_to_two_modes(15))
    assert 1.4 < gain < 1.62
    assert used.effective_components.item() == pytest.approx(2, abs=0.4)
    assert used.mutual_information.item() == pytest.approx(math.log(2), abs=0.05)


def test_one_component_gains_nothing_on_the_bimodal_toy():
    gain, used = score_on_two_modes(fitted_to_two_modes(1))
    assert gain == pytest.approx(0, abs=0.02)
    assert used.effective_components.item() == pytest.approx(1, abs=1e-3)


def test_bound_equals_kl_of_torch_for_one_component():
    prior = random_prior(max_components=1).infer(torch.randn(2, 5))
    parts = prior.mixture().component_distribution.base_dist
    q = torch.distributions.Normal(torch.zeros(2, 1, 3), torch.ones(2, 1, 3))
    want = kl_divergence(q, parts).sum(-1).squeeze(-1)
    assert torch.allclose(prior.kl_bound(torch.zeros(2, 3), torch.ones(2, 3)), want, atol=1e-5)
