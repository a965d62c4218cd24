"""The second level of latents: its bound, its dreams, its parameters."""

import math

import pytest
import torch
from laws import every_parameter_gets_gradient, works_in_float64

from aime_agent.functional.gaussian import DiagonalGaussian
from aime_agent.representation.dpgmm_prior import DPGMMPrior
from aime_agent.representation.ladder import LatentLadder

TOP, DEEP, HIDDEN, UNITS, ROWS = 3, 2, 5, 8, 6


@pytest.fixture
def ladder():
    torch.manual_seed(0)
    return LatentLadder(TOP, DEEP, HIDDEN, UNITS, 0.1).double()


@pytest.fixture
def mixture():
    torch.manual_seed(1)
    return DPGMMPrior(max_components=4, latent_dim=TOP, hidden_dim=HIDDEN).double()


def some(*shape, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_bound_of_the_widened_mixture_is_the_sum_over_levels(ladder, mixture, tau):
    hidden, z, mean = some(ROWS, HIDDEN), some(ROWS, TOP + DEEP), some(ROWS, TOP + DEEP, seed=3)
    std = some(ROWS, TOP + DEEP, seed=4).exp()
    first = mixture.infer(hidden)
    whole = ladder.widen(first, hidden, z).kl_bound(mean, std, tau)
    deep = DiagonalGaussian(mean[:, TOP:], std[:, TOP:]).kl(ladder.prior(hidden, z[:, :TOP]))
    torch.testing.assert_close(whole, first.kl_bound(mean[:, :TOP], std[:, :TOP], tau) + deep)


def test_responsibilities_and_weights_are_those_of_the_first_level(ladder, mixture):
    hidden, z = some(ROWS, HIDDEN), some(ROWS, TOP + DEEP)
    mean, std = some(ROWS, TOP + DEEP, seed=3), torch.ones(ROWS, TOP + DEEP).double()
    first = mixture.infer(hidden)
    whole = ladder.widen(first, hidden, z)
    torch.testing.assert_close(
        whole.responsibilities(mean, std), first.responsibilities(mean[:, :TOP], std[:, :TOP])
    )
    assert torch.equal(whole.log_pi, first.log_pi)


def test_dream_draws_the_second_level_from_its_prior(ladder):
    hidden, top = some(1, HIDDEN).expand(20_000, -1), some(1, TOP).expand(20_000, -1)
    z = ladder.extend(top, hidden, some(20_000, DEEP, seed=5), 1.0)
    deep = ladder.prior(hidden[0], top[0])
    assert torch.equal(z[:, :TOP], top)
    torch.testing.assert_close(z[:, TOP:].mean(0), deep.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z[:, TOP:].std(0), deep.std, atol=0, rtol=0.02)
    cold = ladder.extend(top[:1], hidden[:1], some(1, DEEP), 0.0)
    torch.testing.assert_close(cold[0, TOP:], deep.mean)


def test_second_level_follows_the_first(ladder):
    hidden = some(2, HIDDEN)[:1].expand(2, -1)
    a, b = ladder.prior(hidden, some(2, TOP))
    assert (a[0] - a[1]).abs().max() > 1e-3
    assert (b[0] - b[1]).abs().max() > 1e-3


def fit_pairs(top, deep, steps=400):
    """Nats per pair (a, b), b = 2a + noise, above the entropy: prior of width top and deep."""
    torch.manual_seed(0)
    prior = DPGMMPrior(max_components=1, latent_dim=top, hidden_dim=1)
    ladder = LatentLadder(top, deep, 1, 16, 0.1) if deep else None
    parameters = [*prior.parameters(), *(ladder.parameters() if ladder else [])]
    adam = torch.optim.Adam(parameters, 0.02)
    nats = []
    for _ in range(steps):
        a = torch.randn(256, 1)
        z, h = torch.cat([a, 2 * a + torch.randn(256, 1)], 1), torch.ones(256, 1)
        mixture = prior.infer(h)
        mixture = ladder.widen(mixture, h, z) if ladder else mixture
        loss = -mixture.log_prob(z).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        nats.append(loss.item())
    entropy = math.log(2 * math.pi * math.e)  # the determinant of [[1, 2], [2, 5]] is 1
    return sum(nats[-100:]) / 100 - entropy


def test_ladder_learns_what_a_diagonal_gaussian_cannot():
    """Two coordinates with ρ² = 4/5: independence costs their mutual information, ½ log 5."""
    assert abs(fit_pairs(2, 0) - math.log(5) / 2) < 0.06
    assert fit_pairs(1, 1) < 0.06


def test_every_parameter_gets_a_gradient(ladder):
    hidden, top, seen = some(ROWS, HIDDEN), some(ROWS, TOP), some(ROWS, UNITS)
    every_parameter_gets_gradient(
        ladder, lambda m: (*m.prior(hidden, top), *m.posterior(seen, top))
    )
    works_in_float64(ladder, lambda m: m.prior(hidden, top))
