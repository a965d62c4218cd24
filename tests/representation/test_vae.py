"""VAEEncoder, VAEDecoder and the attention gain."""

import pytest
import torch

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.representation import VAEDecoder, VAEEncoder
from aime_agent.representation.modulation import attention_gain, mean_one_map

ENCODER = {"latent_dim": 3, "context_dim": 4, "base_channels": 2, "embedding_dim": 6, "units": 5}
DECODER = {"latent_dim": 3, "base_channels": 2}


def count(module):
    return sum(p.numel() for p in module.parameters())


def call(encoder, size=64, **kw):
    torch.manual_seed(0)
    return encoder(torch.rand(2, 3, size, size), torch.randn(2, 4), **kw)


@pytest.mark.parametrize("size", [32, 64, 84])
def test_both_work_at_any_size(size):
    out = call(VAEEncoder(**ENCODER, image_size=size), size)
    assert out["mu"].shape == out.mean.shape == out["logvar"].shape == (2, 3)
    image = VAEDecoder(**DECODER, image_size=size)(out["sample"], torch.rand(2, 21, 21))
    assert image.shape == (2, 3, size, size)


def test_evaluation_takes_the_mean_and_noise_is_an_argument():
    encoder = VAEEncoder(**ENCODER)
    out = call(encoder, normal=torch.ones(2, 3))
    assert torch.allclose(out.sample, out.mu + torch.exp(0.5 * out.logvar), atol=1e-6)
    assert not torch.equal(call(encoder).sample, out.mu)
    out = call(encoder.eval())
    assert torch.equal(out.sample, out["mean"])


def test_logvar_is_bounded_and_starts_at_zero():
    encoder = VAEEncoder(**ENCODER)
    encoder.output.weight.data.zero_()
    encoder.output.bias.data.zero_()
    assert call(encoder).logvar.abs().max() < 1e-5
    encoder.output.bias.data.copy_(torch.tensor([0, 0, 0, 1e4, -1e4, 0]))
    logvar = call(encoder).logvar[0]
    assert logvar[0].item() == pytest.approx(2, abs=1e-4)
    assert logvar[1].item() == pytest.approx(-10, abs=1e-4)


def test_fast_path_equals_forward():
    encoder = VAEEncoder(**ENCODER, hidden_dim=5, glimpse_dim=6).eval()
    x, context = torch.rand(2, 3, 64, 64), torch.randn(2, 4)
    hidden, glimpse = torch.randn(2, 5), torch.randn(2, 6)
    pre = encoder.precompute(encoder.trunk(x).low, context)
    q = encoder.posterior(pre, hidden, glimpse)
    out = encoder(x, context, hidden=hidden, glimpse=glimpse)
    assert torch.allclose(q.mean, out.mean)
    assert torch.allclose(q.logvar, out.logvar, atol=1e-6)


@pytest.mark.parametrize("trunk", [True, False])
def test_every_encoder_parameter_gets_a_gradient(trunk):
    encoder = VAEEncoder(**ENCODER, hidden_dim=5, glimpse_dim=6, trunk=trunk)
    x = torch.rand(2, 3, 64, 64)
    low = encoder.trunk(x).low if trunk else torch.rand(2, 6, 4, 4)
    q = encoder.posterior(
        encoder.precompute(low, torch.randn(2, 4)), torch.randn(2, 5), torch.randn(2, 6)
    )
    (q.mean + q.std).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_every_decoder_parameter_gets_a_gradient_though_gains_start_at_zero():
    decoder = VAEDecoder(**DECODER)
    decoder(torch.randn(2, 3), torch.rand(2, 9, 9)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_attention_acts_on_the_decoder_only_through_its_strength():
    decoder = VAEDecoder(**DECODER)
    z, a = torch.randn(2, 3), torch.rand(2, 21, 21)
    assert torch.allclose(decoder(z, a), decoder(z), atol=1e-6)
    decoder.strength.data.fill_(0.5)
    assert not torch.allclose(decoder(z, a), decoder(z))
    uniform = torch.full((2, 21, 21), 1 / 441)
    assert torch.allclose(decoder(z, uniform), decoder(z), atol=1e-5)


def test_attention_acts_on_the_encoder():
    encoder = VAEEncoder(**ENCODER).eval()
    a = torch.rand(2, 16, 16) ** 8
    assert not torch.allclose(call(encoder, attention_map=a).mu, call(encoder).mu)
    off = VAEEncoder(**ENCODER, attention_gain=0.0).eval()
    assert torch.allclose(call(off, attention_map=a).mu, call(off).mu)


@pytest.mark.parametrize(
    ("side", "size"), [(16, (8, 8)), (21, (16, 16)), (4, (16, 16)), (8, (5, 7))]
)
def test_resized_map_has_mean_one_and_ignores_scale(side, size):
    a = torch.rand(2, side, side)
    resized = mean_one_map(a, size)
    assert torch.allclose(resized.mean((-2, -1)), torch.ones(2, 1), atol=1e-5)
    assert torch.allclose(mean_one_map(a / a.sum(), size), resized, atol=1e-5)


def test_gain_by_hand():
    a = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    assert attention_gain(a, 0.5, (2, 2)).flatten().tolist() == [0.5, 0.5, 0.5, 2.5]


def test_decoder_reads_hidden_before_the_latent():
    decoder = VAEDecoder(**DECODER, hidden_dim=4)
    z, hidden, a = torch.randn(2, 3), torch.randn(2, 4), torch.rand(2, 16, 16)
    patches = decoder.patches(torch.cat((hidden, z), -1), a)
    folded = torch.nn.functional.pixel_unshuffle(decoder(z, a, hidden), 4)
    assert patches.shape == (2, 48, 16, 16)
    assert torch.allclose(patches, folded)


def test_budget_sizes():
    assert count(VAEDecoder(hidden_dim=256, latent_dim=32)) == pytest.approx(577_000, rel=0.02)
    posterior = VAEEncoder(
        latent_dim=32, context_dim=64, hidden_dim=256, glimpse_dim=32, trunk=False
    )
    assert count(posterior) == pytest.approx(523_000, rel=0.02)


@pytest.mark.parametrize("name", [*ENCODER, "image_channels", "hidden_dim", "glimpse_dim", "patch"])
def test_encoder_sizes_act(name):
    old = {"image_channels": 3, "patch": 4, **ENCODER}.get(name, 0)
    assert count(VAEEncoder(**{**ENCODER, name: old + 4})) != count(VAEEncoder(**ENCODER))


@pytest.mark.parametrize("name", [*DECODER, "image_channels", "hidden_dim", "patch"])
def test_decoder_sizes_act(name):
    old = {"image_channels": 3, "patch": 4, **DECODER}.get(name, 0)
    assert count(VAEDecoder(**{**DECODER, name: old + 4})) != count(VAEDecoder(**DECODER))


def test_works_in_float64():
    encoder, decoder = VAEEncoder(**ENCODER).double(), VAEDecoder(**DECODER).double()
    out = encoder(torch.rand(2, 3, 64, 64).double(), torch.randn(2, 4).double())
    assert decoder(out.sample, torch.rand(2, 9, 9).double()).dtype == torch.float64


def test_errors_name_the_remedy():
    x, context = torch.rand(2, 3, 64, 64), torch.randn(2, 4)
    with pytest.raises(ShapeError, match=r"hidden: \[B, 5\] required"):
        VAEEncoder(**ENCODER, hidden_dim=5)(x, context)
    with pytest.raises(ShapeError, match="Build the encoder with hidden_dim=7"):
        VAEEncoder(**ENCODER)(x, context, hidden=torch.randn(2, 7))
    with pytest.raises(ConfigError, match="trunk=True"):
        VAEEncoder(**ENCODER, trunk=False)(x, context)
    with pytest.raises(ShapeError, match="image: dimension 2 must be 84, found 64"):
        VAEEncoder(**ENCODER, image_size=84)(x, context)
    with pytest.raises(ConfigError, match="use_attention=True"):
        VAEDecoder(**DECODER, use_attention=False)(torch.randn(2, 3), torch.rand(2, 9, 9))
    with pytest.raises(ShapeError, match="Build the decoder with hidden_dim=7"):
        VAEDecoder(**DECODER)(torch.randn(2, 3), hidden=torch.randn(2, 7))
    with pytest.raises(ConfigError, match="image_size must be at least 32, found 16"):
        VAEDecoder(image_size=16)
