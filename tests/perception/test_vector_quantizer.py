import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.perception.vector_quantizer import VectorQuantizer, VectorQuantizerConfig


def intrinsic_six(num, dim=64, seed=0):
    """Vectors of intrinsic dimension 6."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, dim, generator=torch.Generator().manual_seed(7))
    return torch.tanh(torch.randn(num, 6, generator=generator)) @ mix


def train(quantizer, steps=30):
    for step in range(steps):
        quantizer(intrinsic_six(1024, seed=step), update_codebook=True)
    return quantizer(intrinsic_six(8192, seed=steps)).perplexity.item()


def collapsed(threshold):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(num_codes=1024, code_dim=64, revival_threshold=threshold)
    quantizer.initialised.fill_(True)  # keep the random start, far from the data
    quantizer.counts.zero_()
    quantizer.sums.zero_()
    return quantizer


def test_revival_raises_perplexity_above_600_of_1024():
    assert train(collapsed(0.0)) < 200
    assert train(collapsed(0.1)) > 600


def test_first_update_initialises_from_data():
    z = intrinsic_six(256).double()
    quantizer = VectorQuantizer(num_codes=64, code_dim=64).double()
    before = quantizer(z).perplexity
    out = quantizer(z, update_codebook=True)
    assert quantizer.initialised
    assert out.perplexity > 40 > before
    distances = torch.cdist(out.codes, z).amin(-1)
    assert distances.max() < 1e-5  # every code was one of the vectors


def test_codebook_moves_only_when_asked():
    quantizer, z = VectorQuantizer(num_codes=8, code_dim=4), torch.randn(32, 4)
    state = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer.train()(z)
    assert all(torch.equal(v, state[k]) for k, v in quantizer.state_dict().items())
    quantizer.eval()(z, update_codebook=True)
    assert not torch.equal(quantizer.codebook, state["codebook"])


def test_update_equals_the_hand_computation_on_three_vectors():
    quantizer = VectorQuantizer(
        num_codes=2, code_dim=1, decay=0.5, epsilon=1.0, revival_threshold=0
    )
    quantizer.double().initialised.fill_(True)
    codes = torch.tensor([[[0.0], [10.0]]]).double()
    quantizer.codebook.copy_(codes)
    quantizer.sums.copy_(codes)
    quantizer(torch.tensor([[1.0], [2.0], [9.0]]).double(), update_codebook=True)
    torch.testing.assert_close(
        quantizer.codebook.flatten(), torch.tensor([1.08, 8.55], dtype=torch.double)
    )


def test_updates_are_reproducible_and_noise_picks_the_codes():
    z = torch.randn(64, 4)
    twins = [VectorQuantizer(num_codes=8, code_dim=4) for _ in range(2)]
    for twin in twins:
        twin(z, update_codebook=True)
    assert torch.equal(twins[0].codebook, twins[1].codebook)
    twins[0].initialise(z, noise=torch.zeros(1, 8))
    assert torch.equal(twins[0].codebook, z[0].expand(1, 8, 4))


def test_ids_look_up_the_codes_they_came_from():
    quantizer, z = VectorQuantizer(num_codes=16, code_dim=6, num_quantizers=3), torch.randn(2, 5, 6)
    out = quantizer(z)
    assert out.ids.shape == (2, 5, 3)
    torch.testing.assert_close(quantizer.lookup(out.ids), out.codes)
    torch.testing.assert_close(out.commitment, (z - out.codes).square().mean(-1))


def test_gradient_passes_straight_through_and_commitment_pulls_to_the_code():
    quantizer = VectorQuantizer(num_codes=1, code_dim=2)
    z = torch.ones(1, 2, requires_grad=True)
    (through,) = torch.autograd.grad(quantizer(z).codes.sum(), z)
    assert through.tolist() == [[1.0, 1.0]]
    (pull,) = torch.autograd.grad(quantizer(z).commitment.sum(), z)
    torch.testing.assert_close(pull, (z - quantizer.codebook[0]).detach())


@pytest.mark.parametrize("change", [{"decay": 0.5}, {"epsilon": 10.0}, {"revival_threshold": 0.9}])
def test_update_settings_act(change):
    books = []
    for extra in ({}, change):
        quantizer = VectorQuantizer(num_codes=8, code_dim=64, **{"decay": 0.7, **extra})
        for step in range(3):
            quantizer(intrinsic_six(64, seed=step), update_codebook=True)
        books.append(quantizer.codebook.clone())
    assert not torch.allclose(*books)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"num_codes": 0}, "num_codes"),
        ({"decay": 1.0}, "decay"),
        ({"num_quantizers": 3}, "num_quantizers"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"num_codez": 3}, "num_codes"),
    ],
)
def test_bad_option_is_named(change, word):
    with pytest.raises(ConfigError, match=word):
        VectorQuantizer(**change)


def test_state_survives_save_and_load():
    quantizer = VectorQuantizer(num_codes=8, code_dim=4)
    quantizer(torch.randn(32, 4), update_codebook=True)
    twin = VectorQuantizer(num_codes=8, code_dim=4)
    twin.load_state_dict(quantizer.state_dict())
    z = torch.randn(32, 4)
    quantizer(z, update_codebook=True)
    twin(z, update_codebook=True)
    assert torch.equal(twin.codebook, quantizer.codebook)


def test_rotation_gradient_acts_on_slices_and_changes_no_value():
    plain = VectorQuantizer(num_codes=8, code_dim=6, num_quantizers=2)
    turned = VectorQuantizer(num_codes=8, code_dim=6, num_quantizers=2, gradient="rotation")
    turned.load_state_dict(plain.state_dict())
    grads = []
    for quantizer in (plain, turned):
        z = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = quantizer(z)
        out.codes.square().sum().backward()
        grads.append(z.grad)
    torch.testing.assert_close(plain(z).codes, out.codes)
    # upstream is 2q, and q turned back and scaled is (‖q‖ / ‖z‖)² z, slice by slice
    q, x = (t.detach().unflatten(-1, (2, 3)) for t in (out.codes, z))
    ratio = q.norm(dim=-1, keepdim=True) / x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(grads[1], (2 * ratio**2 * x).flatten(-2))
    assert not torch.allclose(*grads)


def test_bad_gradient_is_named():
    config = VectorQuantizerConfig()
    object.__setattr__(config, "gradient", "copy")
    with pytest.raises(ConfigError, match="gradient must be 'straight_through' or 'rotation'"):
        config.__post_init__()
