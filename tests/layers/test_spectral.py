import torch
from laws import every_parameter_gets_gradient, is_permutation_equivariant, works_in_float64
from torch import nn

from aime_agent.layers.spectral import SpectralBlock, _rotated, rotary_positions


def block(dim=8, heads=2):
    torch.manual_seed(0)
    return SpectralBlock(dim, heads).double().eval()


def tokens(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)).double()


def causal(length):
    return torch.ones(2, 1, length, length).tril().bool()


def test_space_has_no_order():
    is_permutation_equivariant(block(), tokens(2, 5, 8), dim=1)


def test_time_at_each_place_is_attention_over_its_own_row():
    """A place by itself gives the same as all places together."""
    x, model = tokens(2, 4, 3, 8), block()
    together = model.over_time(x, causal(4))
    alone = torch.cat([model.over_time(x[:, :, n : n + 1], causal(4)) for n in range(3)], dim=2)
    torch.testing.assert_close(together, alone)
    everywhere = torch.ones(2, 1, 4, 4).bool()
    as_space = model(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 3)).transpose(1, 2)
    torch.testing.assert_close(model.over_time(x, everywhere), as_space)


def test_mask_hides():
    x, model = tokens(2, 4, 3, 8), block()
    later = x.clone()
    later[:, 2:] = 0
    now, then = (model.over_time(y, causal(4), rotary_positions(4, 4)) for y in (x, later))
    assert torch.equal(now[:, :2], then[:, :2])
    assert not torch.equal(now[:, 2:], then[:, 2:])


def test_rotation_by_hand_and_by_distance():
    positions = rotary_positions(9, 4, base=100.0).double()
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).double().expand(1, 1, 9, 4)
    turned = _rotated(x, positions)[0, 0, 2]
    # Pair 0 (channels 0, 2) turns by 2 rad from (1, 0), pair 1 (1, 3) by 2/10 from (0, 1).
    angles = torch.tensor([2.0, 0.2]).double()
    expected = [angles[0].cos(), -angles[1].sin(), angles[0].sin(), angles[1].cos()]
    torch.testing.assert_close(turned, torch.stack(expected), rtol=1e-6, atol=1e-7)
    q = _rotated(tokens(1, 1, 1, 4).expand(-1, -1, 9, -1), positions)[0, 0]
    k = _rotated(torch.ones(1, 1, 9, 4).double(), positions)[0, 0]
    scores = q @ k.mT
    torch.testing.assert_close(scores[:-1, :-1], scores[1:, 1:], rtol=1e-6, atol=1e-6)


def test_every_parameter_gets_gradient_in_both_directions():
    every_parameter_gets_gradient(block(), lambda m: m(tokens(2, 5, 8)))
    every_parameter_gets_gradient(block(), lambda m: m.over_time(tokens(2, 4, 3, 8), causal(4)))
    works_in_float64(block(), lambda m: m(tokens(2, 5, 8)))


def test_weights_are_divided_by_their_largest_singular_value():
    model = block().train()
    with torch.no_grad():
        model.up.parametrizations.weight.original.mul_(50)
    for _ in range(30):
        model(tokens(2, 5, 8))
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == 4
    sizes = torch.stack([torch.linalg.matrix_norm(m.weight, 2) for m in linear]).detach()
    torch.testing.assert_close(sizes, torch.ones(4).double(), rtol=0.02, atol=0)
