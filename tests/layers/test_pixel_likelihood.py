import math

import torch
from laws import every_parameter_gets_gradient
from scipy.stats import logistic

from aime_agent.layers.conv import patchify
from aime_agent.layers.pixel_likelihood import LogisticLikelihood


def frames(n=4, seed=0):
    return torch.randint(256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed)) / 255


def test_nats_are_those_of_every_pixel_under_its_channels_scale():
    layer, target, mean = LogisticLikelihood(3, 4).double(), frames().double(), frames(seed=1)
    scales = torch.tensor([0.1, 0.2, 0.5]).double()
    layer.log_scale.data.copy_(scales.log())
    found = layer(patchify(mean.double(), 4), patchify(target, 4))
    s, x, mu = scales[:, None, None].numpy(), target.numpy(), mean.double().numpy()
    upper = logistic.cdf(x + 0.5 / 255, mu, s)
    lower = logistic.cdf(x - 0.5 / 255, mu, s)
    upper[x == 1], lower[x == 0] = 1.0, 0.0
    expected = -torch.from_numpy(upper - lower).log().flatten(1).sum(1)
    torch.testing.assert_close(found, expected)


def test_scale_starts_at_the_spread_of_the_residuals():
    layer = LogisticLikelihood(3, 4)
    residuals = torch.randn(64, 3, 8, 8) * torch.tensor([0.01, 0.1, 0.3])[:, None, None]
    layer.fit(residuals)
    std = layer.log_scale.exp() * math.pi / math.sqrt(3)
    torch.testing.assert_close(std, torch.tensor([0.01, 0.1, 0.3]), rtol=0.05, atol=0)


def test_learned_scale_finds_the_best_one():
    """Errors drawn from a logistic of scale 0.05: gradient descent on the scale arrives there."""
    layer, g = LogisticLikelihood(1, 2).double(), torch.Generator().manual_seed(0)
    u = torch.rand(64, 1, 16, 16, generator=g, dtype=torch.float64)
    target = ((0.5 + 0.05 * u.logit()).clamp(0, 1) * 255).round() / 255
    mean = torch.full_like(target, 0.5)
    adam = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(150):
        adam.zero_grad()
        layer(patchify(mean, 2), patchify(target, 2)).mean().backward()
        adam.step()
    assert abs(layer.log_scale.item() - math.log(0.05)) < 0.03


def test_every_parameter_gets_a_gradient():
    mean, target = patchify(frames(seed=1), 4), patchify(frames(), 4)
    every_parameter_gets_gradient(LogisticLikelihood(3, 4), lambda m: m(mean, target))
