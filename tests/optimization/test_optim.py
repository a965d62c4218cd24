"""Fused Adam with clipped groups: its step by hand, its groups, its memory."""

import warnings

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from aime_agent.errors import CheckpointError, ConfigError, DivergenceError
from aime_agent.optimization import make_optimizer
from aime_agent.optimization.optim import FAIL_AFTER, WARN_AFTER


def nets():
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(2, 1)


def train(adam, a, b, steps, seed=0):
    torch.manual_seed(seed)
    for _ in range(steps):
        adam.zero_grad()
        b(a(torch.randn(4, 3))).square().mean().backward()
        norms = adam.step()
    return norms


def test_first_step_has_the_length_of_the_learning_rate():
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    adam = make_optimizer({"w": [w]}, lr=0.1)
    w.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    norms = adam.step(lr_factor=0.5)
    torch.testing.assert_close(w.detach(), torch.tensor([-0.05, 0.05], dtype=torch.float64))
    torch.testing.assert_close(norms["w"], torch.tensor(5.0, dtype=torch.float64))


def test_each_group_is_clipped_by_its_own_norm():
    a, b = nets()
    adam = make_optimizer(
        {"slots": a, "rest": [*a.parameters(), *b.parameters()]}, clip={"slots": 0.05}
    )
    for p in [*a.parameters(), *b.parameters()]:
        p.grad = torch.ones_like(p)
    norms = adam.step()
    torch.testing.assert_close(
        nn.utils.get_total_norm([p.grad for p in a.parameters()]), torch.tensor(0.05)
    )
    assert b.weight.grad.eq(1).all()
    torch.testing.assert_close(
        [norms["slots"], norms["rest"]], [torch.tensor(8.0).sqrt(), torch.tensor(3.0).sqrt()]
    )


def test_equals_torch_adamw_with_decay_on_matrices_only():
    a, b = nets()
    c, d = nets()
    ours = make_optimizer(
        {"a": a, "b": b}, lr=0.01, weight_decay=0.3, eps=1e-5, betas=(0.8, 0.9), clip=1e9
    )
    theirs = torch.optim.AdamW(
        [
            {"params": [c.weight, d.weight], "weight_decay": 0.3},
            {"params": [c.bias, d.bias], "weight_decay": 0.0},
        ],
        lr=0.01, eps=1e-5, betas=(0.8, 0.9),
    )  # fmt: skip
    train(ours, a, b, 3)
    train(theirs, c, d, 3)
    torch.testing.assert_close(
        [*a.parameters(), *b.parameters()], [*c.parameters(), *d.parameters()]
    )


@pytest.mark.parametrize(
    "changed",
    [{"lr": 1e-3}, {"eps": 1e-2}, {"clip": 1e-9}, {"betas": (0.5, 0.5)}, {"weight_decay": 1.0}],
)
def test_every_setting_acts(changed):
    (a, b), (c, d) = nets(), nets()
    train(make_optimizer({"a": a, "b": b}), a, b, 3)
    train(make_optimizer({"a": c, "b": d}, **changed), c, d, 3)
    assert not torch.equal(a.weight, c.weight)


def test_step_that_is_not_finite_is_skipped():
    a, b = nets()
    adam = make_optimizer({"a": a, "b": b})
    train(adam, a, b, 2)
    weights, state = a.weight.clone(), adam.state_dict()
    a.weight.grad[0, 0] = float("nan")
    assert adam.step()["a"].isnan()
    assert torch.equal(a.weight, weights)
    assert all(torch.equal(v, adam.state_dict()[k]) for k, v in state.items())


def test_state_continues_exactly_through_safetensors():
    (a, b), (c, d) = nets(), nets()
    adam, other = make_optimizer({"a": a, "b": b}), make_optimizer({"a": c, "b": d})
    other.load_state_dict(adam.state_dict())
    train(adam, a, b, 3)
    c.load_state_dict(a.state_dict())
    d.load_state_dict(b.state_dict())
    other.load_state_dict(load(save(adam.state_dict())))
    train(adam, a, b, 3, seed=1)
    train(other, c, d, 3, seed=1)
    assert torch.equal(a.weight, c.weight)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in adam.state_dict().items())


def channels_last():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    return conv, make_optimizer({"conv": conv}, lr=0.1, clip=float("inf"))


def test_gradient_of_another_memory_layout_updates_the_right_entries():
    conv, adam = channels_last()
    plain = nn.Conv2d(3, 4, 2)
    plain.load_state_dict(conv.state_dict())
    reference = torch.optim.Adam(plain.parameters(), lr=0.1, fused=False)
    for _ in range(2):
        gradients = [torch.randn(p.shape) for p in conv.parameters()]
        for p, q, gradient in zip(conv.parameters(), plain.parameters(), gradients, strict=True):
            p.grad, q.grad = gradient.clone(), gradient.clone()
        assert conv.weight.grad.stride() != conv.weight.stride()
        adam.step()
        reference.step()
    torch.testing.assert_close(conv.weight, plain.weight)


def test_state_of_another_memory_layout_continues_exactly():
    (conv, adam), (other, other_adam) = channels_last(), channels_last()
    x = torch.randn(2, 3, 4, 4)

    def step(net, optimizer):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    step(conv, adam)
    other.load_state_dict(conv.state_dict())
    other_adam.load_state_dict({k: v.contiguous() for k, v in adam.state_dict().items()})
    step(conv, adam)
    step(other, other_adam)
    assert torch.equal(conv.weight, other.weight)


def test_group_without_gradients_stays():
    a, b = nets()
    adam = make_optimizer({"a": a, "b": b})
    a(torch.ones(1, 3)).sum().backward()
    assert adam.step()["b"] == 0
    adam.zero_grad()
    assert a.weight.grad is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"clip": {"slot": 1.0}}, "'slots'"), ({"clip": 0.0}, "above 0"), ({"lr": 0.0}, "lr must")],
)
def test_bad_setting_is_named(settings, text):
    with pytest.raises(ConfigError, match=text):
        make_optimizer({"slots": nets()[0]}, **settings)


def test_empty_group_is_named():
    a, _ = nets()
    with pytest.raises(ConfigError, match="'again'"):
        make_optimizer({"all": a, "again": a})


def test_foreign_state_is_refused():
    a, _ = nets()
    adam = make_optimizer({"a": a})
    with pytest.raises(CheckpointError, match=r"'x\.0'"):
        adam.load_state_dict({"x.0.step": torch.zeros(())})
    with pytest.raises(CheckpointError, match="exp_avg"):
        adam.load_state_dict({"a.0.step": torch.zeros(())})


def feed(adam, a, b, values):
    """One step per value, which stands in the gradient of b; returns the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for value in values:
            adam.zero_grad()
            a.weight.grad = torch.ones_like(a.weight)
            b.weight.grad = torch.full_like(b.weight, value)
            adam.step()
    return [str(w.message) for w in caught]


def test_series_of_skipped_steps_warns_once_and_says_where():
    a, b = nets()
    adam = make_optimizer({"slots": a, "model": b}, lr=0.02)
    nan = float("nan")
    assert feed(adam, a, b, [nan] * (WARN_AFTER - 1) + [1.0]) == []
    (text,) = feed(adam, a, b, [nan] * (WARN_AFTER + 30))
    assert text.startswith(f"the last {WARN_AFTER} optimiser steps were skipped")
    assert "'model' is not finite" in text
    assert "learning rate 0.02" in text
    assert "'slots'" not in text


def test_steps_skipped_now_and_then_are_no_series():
    a, b = nets()
    adam = make_optimizer({"a": a, "b": b})
    assert feed(adam, a, b, ([float("inf")] * 9 + [1.0]) * 30) == []


def test_another_series_warns_again():
    a, b = nets()
    adam = make_optimizer({"a": a, "b": b})
    series = [float("inf")] * 20 + [1.0] * 10
    assert len(feed(adam, a, b, series * 2)) == 2


def test_training_ends_where_every_step_is_skipped():
    a, b = nets()
    adam = make_optimizer({"a": a, "b": b})
    weights = b.weight.clone()
    feed(adam, a, b, [float("nan")] * (FAIL_AFTER - 1))
    with pytest.raises(DivergenceError, match="go back to an earlier checkpoint"):
        feed(adam, a, b, [float("nan")])
    assert torch.equal(b.weight, weights)
