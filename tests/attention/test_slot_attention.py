"""Slot attention: the laws of science, and every setting."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import SlotAttention, SlotAttentionConfig
from aime_agent.errors import ConfigError, ShapeError


def make(**kw):
    torch.manual_seed(0)
    return SlotAttention(**{"num_slots": 3, "in_dim": 5, "slot_dim": 8, **kw}).double()


def inputs(batch=2, count=12):
    torch.manual_seed(1)
    return torch.randn(batch, count, 5).double()


@pytest.mark.parametrize("heads", [1, 4])
def test_responsibilities_sum_to_one_over_slots(heads):
    attn = make(num_heads=heads)(inputs()).attn
    assert attn.shape == (2, 3, 12)
    assert_close(attn.sum(1), torch.ones(2, 12).double())


@pytest.mark.parametrize("heads", [1, 2])
def test_permuting_initial_slots_permutes_the_result(heads):
    net, x, order = make(num_heads=heads), inputs(), [2, 0, 1]
    seeds = torch.randn(2, 3, 8).double()
    slots, attn = net(x, seeds)
    permuted = net(x, seeds[:, order])
    assert_close(permuted.slots, slots[:, order])
    assert_close(permuted.attn, attn[:, order])


def test_permuting_inputs_leaves_slots_unchanged():
    net, x = make(), inputs()
    assert_close(net(x.flip(1)).slots, net(x).slots)


def test_doubling_inputs_leaves_slots_unchanged():
    net, x = make(), inputs()
    assert_close(net(torch.cat([x, x], 1)).slots, net(x).slots, atol=1e-7, rtol=1e-6)


def test_one_iteration_by_hand():
    net, x = make(iters=1), inputs(1, 4)
    s, y = net.queries, net.norm_inputs(x[0])
    k, v = (y @ net.to_kv.weight.T).split(8, dim=-1)
    m = (net.to_q(net.norm_slots(s)) @ k.T / 8**0.5).softmax(0)
    u = (m / (m.sum(1, keepdim=True) + 1e-8)) @ v
    new = net.gru(u, s)
    assert_close(net(x).slots[0], new + net.mlp(new))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_slot_without_any_input_stays_finite(dtype):
    net = make(num_slots=2).to(dtype)
    net.to_q.weight.data.copy_(10 * torch.eye(8))
    ramp = torch.linspace(-1, 1, 8).to(dtype)
    k = (10 * ramp).expand(1, 12, 8)
    out = net.iterate(torch.stack([ramp, -ramp])[None], k, torch.randn(1, 12, 8).to(dtype))
    assert (out.attn[:, 1] == 0).all()
    assert out.slots.isfinite().all()


def test_project_and_iterate_equal_forward():
    net, x = make(iters=1), inputs()
    out = net.iterate(net.initial_slots(2), *net.project(x))
    assert_close(out.slots, net(x).slots)


@pytest.mark.parametrize("init", ["learned", "gaussian"])
@pytest.mark.parametrize("gradient", ["bilevel", "full"])
def test_every_parameter_gets_a_gradient(init, gradient):
    net = make(init=init, gradient=gradient)
    net(inputs()).slots.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_gradient_rules_agree_forward_and_differ_backward():
    results = []
    for gradient in ("bilevel", "full"):
        net = make(gradient=gradient)
        slots = net(inputs()).slots
        slots.square().sum().backward()
        results.append((slots.detach(), net.queries.grad))
    assert_close(results[0][0], results[1][0])
    assert not torch.allclose(results[0][1], results[1][1])


def test_gaussian_start_takes_its_noise_as_an_argument():
    net, x, noise = make(init="gaussian"), inputs(), torch.randn(2, 3, 8).double()
    assert_close(net(x, noise=noise).slots, net(x, noise=noise).slots)
    draws = [net(x, generator=torch.Generator().manual_seed(i)).slots for i in (0, 0, 1)]
    assert_close(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


@pytest.mark.parametrize("change", [{"iters": 1}, {"num_heads": 2}, {"eps": 1.0}])
def test_settings_change_the_output(change):
    assert not torch.allclose(make(**change)(inputs()).slots, make()(inputs()).slots)


@pytest.mark.parametrize("change", [{"num_slots": 5}, {"mlp_hidden": 7}, {"slot_dim": 6}])
def test_sizes_change_the_parameters(change):
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(make(**change)) != count(make())


def test_feature_map_gets_the_remedy():
    with pytest.raises(ShapeError, match=r"flatten\(2\)\.transpose\(1, 2\)"):
        make()(torch.randn(8, 5, 21, 21).double())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_slots": 0}, "num_slots must be at least 1, found 0"),
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"num_slotz": 2}, "num_slots"),
    ],
)
def test_bad_options_are_named(change, text):
    with pytest.raises(ConfigError, match=text):
        make(**change)


@pytest.mark.parametrize("name", ["init", "gradient"])
def test_bad_choices_are_named(name):
    config = SlotAttentionConfig()
    object.__setattr__(config, name, "none")
    with pytest.raises(ConfigError, match=f"{name} must be .* found 'none'"):
        config.__post_init__()


def test_slots_learn_to_bind_two_clusters():
    torch.manual_seed(0)
    net = SlotAttention(num_slots=2, in_dim=2, slot_dim=8)
    read = torch.nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*net.parameters(), *read.parameters()], 1e-2)
    for _ in range(100):
        x = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).repeat(8, 1) + 0.1 * torch.randn(4, 16, 2)
        out = net(x)
        loss = (out.attn.mT @ read(out.slots) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
