import pytest
import torch
from laws import every_parameter_gets_gradient, works_in_float64

from aime_agent.errors import ConfigError
from aime_agent.perception.finite_scalar_quantizer import FiniteScalarQuantizer


def test_all_thousand_ids_survive_lookup_and_back():
    quantizer = FiniteScalarQuantizer(code_dim=16)
    ids = torch.arange(1000)[:, None]
    codes = quantizer.lookup(ids)
    assert quantizer.config.num_codes == 1000
    assert len(codes.unique(dim=0)) == 1000
    apart = torch.cdist(codes, codes).fill_diagonal_(1.0)
    assert apart.min() > 1e-3


@pytest.mark.parametrize("groups", [1, 3])
def test_ids_stand_for_the_codes(groups):
    quantizer = FiniteScalarQuantizer(code_dim=8, levels=(4, 3), num_quantizers=groups)
    out = quantizer(torch.randn(5, 7, 8))
    assert out.ids.shape == (5, 7, groups)
    torch.testing.assert_close(quantizer.lookup(out.ids), out.codes)


def test_update_changes_nothing():
    quantizer, z = FiniteScalarQuantizer(code_dim=8), torch.randn(9, 8)
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(z, update_codebook=True)
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())
    assert not quantizer(z).commitment.any()


def test_perplexity_counts_codes():
    quantizer = FiniteScalarQuantizer(code_dim=2, levels=(3,))
    torch.nn.init.zeros_(quantizer.down.bias)
    quantizer.down.weight.data.copy_(torch.tensor([[9.0, 0.0]]))
    out = quantizer(torch.tensor([[1.0, 0], [-1.0, 0], [0.0, 0], [0.0, 0]]))
    probs = torch.tensor([0.25, 0.25, 0.5])
    torch.testing.assert_close(out.perplexity, torch.special.entr(probs).sum().exp())


def test_every_parameter_gets_a_gradient():
    quantizer = FiniteScalarQuantizer(code_dim=8)
    every_parameter_gets_gradient(quantizer, lambda m: m(torch.randn(64, 8)).codes)
    works_in_float64(quantizer, lambda m: m(torch.randn(3, 8).double()))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"levels": (1, 5)}, "levels"), ({"levels": ()}, "levels"), ({"num_quantizers": 0}, "num_q")],
)
def test_bad_option_is_named(change, word):
    with pytest.raises(ConfigError, match=word):
        FiniteScalarQuantizer(**change)
