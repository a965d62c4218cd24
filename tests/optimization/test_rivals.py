"""RGB's rivals: rows of a reference table, what each promises, and the shared interface."""

import importlib.util
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from aime_agent.errors import CheckpointError, ConfigError, MissingDependencyError
from aime_agent.optimization import RGB, make_balancer
from aime_agent.optimization.rivals import RivalName, rgb_aggregator

RIVALS = get_args(RivalName)
MEANS = ("norm_mean", "norm_mean_ema")
needs_torchjd = pytest.mark.skipif(
    importlib.util.find_spec("torchjd") is None, reason="needs the extra torchjd"
)
CONFLICT = [[10.0, 0.0], [-0.5, 0.8660254]]


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def made(name, parameters=None, **settings):
    plain = {"scale": "unit"} if name in MEANS else {}
    return make_balancer(name, parameters, **plain, **settings)


def losses_of(grads):
    w = Parameter(torch.zeros(grads.shape[1], dtype=grads.dtype))
    return w, [w @ g for g in grads]


@needs_torchjd
@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("mgda", [0.0676, 0.8192]),
        ("pcgrad", [7.5, 5.196]),
        ("upgrad", [3.7625, 2.5764]),
        ("nash_mtl", [0.5, 0.8660]),  # two tasks: the bisector
    ],
)
def test_rival_has_the_known_value(name, update):
    torch.testing.assert_close(
        made(name).balance(rows(*CONFLICT)), rows(*update), atol=1e-3, rtol=0
    )


@needs_torchjd
def test_upgrad_on_the_documented_jacobian():
    update = made("upgrad").balance(rows([-4, 1, 1], [6, 1, 1]))
    torch.testing.assert_close(update, rows(0.2929, 1.9004, 1.9004), atol=1e-3, rtol=0)


@needs_torchjd
def test_cagrad_is_the_best_worst_case_near_the_mean():
    grads = rows(*CONFLICT)
    mean, update = grads.mean(0), made("cagrad", c=0.4).balance(rows(*CONFLICT))
    radius = 0.4 * mean.norm()
    torch.testing.assert_close((update - mean).norm(), radius, rtol=1e-3, atol=0)
    turn = torch.linspace(0, 2 * torch.pi, 3601, dtype=torch.float64)
    circle = mean + radius * torch.stack([turn.cos(), turn.sin()], -1)
    best = (circle @ grads.mT).amin(-1).max()
    torch.testing.assert_close((grads @ update).min(), best, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("name", "update"), [("norm_mean", [0.25, 0.4330]), ("norm_mean_ema", [0.5, 0.8660])]
)
def test_normalised_means_by_hand(name, update):
    torch.testing.assert_close(
        made(name).balance(rows(*CONFLICT)), rows(*update), atol=1e-4, rtol=0
    )


def test_consensus_moves_by_its_momentum():
    balancer = made("norm_mean_ema", mu=0.5)
    balancer.balance(rows([3, 0], [1, 0]))
    update = balancer.balance(rows([0, 2], [0, 5]))
    torch.testing.assert_close(update, rows(0.5, 0.5) * 2**0.5)


def test_rgb_lies_between_its_two_controls():
    names = ("norm_mean", "rgb", "norm_mean_ema")
    lengths = [make_balancer(n, scale="unit").balance(rows(*CONFLICT)).norm() for n in names]
    torch.testing.assert_close(torch.stack(lengths)[::2], rows(0.5, 1.0))
    assert 0.6 < lengths[1] < 0.9


@pytest.mark.parametrize("name", MEANS)
def test_calls_between_balances_keep_the_weights(name):
    w, grads = Parameter(rows(0.0, 0.0)), {}
    for interval in (1, 2):
        balancer = make_balancer(name, lambda: [w], update_interval=interval)
        for _ in range(2):
            w.grad = None
            balancer.backward([w @ rows(3.0, 1.0), w @ rows(1.0, 3.0)])
        grads[interval] = w.grad
    torch.testing.assert_close(grads[1], grads[2])


ALL = [*MEANS, *(pytest.param(name, marks=needs_torchjd) for name in RIVALS)]


@pytest.mark.parametrize("name", ALL)
def test_backward_equals_balance(name):
    grads = torch.randn(3, 6, dtype=torch.float64)
    w, losses = losses_of(grads)
    torch.manual_seed(3)
    weights = made(name, lambda: [w]).backward(losses)
    torch.manual_seed(3)
    torch.testing.assert_close(w.grad, made(name).balance(grads))
    assert weights.shape == (3,)
    if name != "norm_mean_ema":
        torch.testing.assert_close(w.grad, torch.from_numpy(weights) @ grads)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("broken", [0.0, float("nan"), float("inf")])
def test_task_without_a_usable_gradient_has_no_vote(name, broken):
    two = rows([1, 0, 0], [-0.2, 1, 0])
    three = torch.cat([two, rows([0, 0, broken])])
    torch.testing.assert_close(made(name).balance(three), made(name).balance(two))


@pytest.mark.parametrize("name", ALL)
def test_last_task_standing_keeps_its_raw_gradient(name):
    torch.testing.assert_close(made(name).balance(rows([3, 4], [0, 0])), rows(3, 4))


@pytest.mark.parametrize("name", ALL)
def test_private_parameters_keep_their_plain_gradient(name):
    shared, mine = (Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    made(name, lambda: [shared, mine]).backward([shared[0] + 7 * mine.sum(), shared[1] * 2.0])
    torch.testing.assert_close(mine.grad, rows(7.0, 7.0))


@pytest.mark.parametrize("name", ALL)
def test_restored_balancer_takes_the_same_next_step(name):
    stream = torch.randn(3, 3, 5, dtype=torch.float64) + 0.4
    w = Parameter(torch.zeros(5, dtype=torch.float64))
    first, second = made(name, lambda: [w]), made(name, lambda: [w])
    for grads in stream[:2]:
        first.backward([w @ g for g in grads])
    second.load_state_dict(first.state_dict())
    steps = []
    for balancer in (first, second):
        w.grad = None
        torch.manual_seed(0)
        balancer.backward([w @ g for g in stream[2]])
        steps.append(w.grad)
    assert torch.equal(*steps)


@needs_torchjd
@pytest.mark.parametrize("name", RIVALS)
def test_absent_tasks_have_no_weight(name):
    w, losses = losses_of(rows([1, 0], [0, 1], [1, 1]))
    balancer = make_balancer(name, lambda: [w])
    assert balancer.backward([losses[0], None, losses[2]])[1] == 0
    np.testing.assert_array_equal(balancer.backward([None, None, None]), np.zeros(3))


@needs_torchjd
@pytest.mark.parametrize("name", RIVALS)
def test_task_weight_is_a_factor_on_the_loss(name):
    grads = rows(*CONFLICT)
    torch.manual_seed(0)
    heavy = make_balancer(name).balance(grads, [0.5, 2.0])
    torch.manual_seed(0)
    torch.testing.assert_close(heavy, make_balancer(name).balance(grads * rows([0.5], [2.0])))


@needs_torchjd
def test_rgb_is_an_aggregator_of_torchjd():
    from torchjd.autojac import backward, jac_to_grad

    grads, aggregator, core = torch.randn(2, 3, 6).double(), rgb_aggregator(mu=0.5), RGB(mu=0.5)
    for g in grads:
        w, losses = losses_of(g)
        backward(losses, parallel_chunk_size=1)
        jac_to_grad([w], aggregator)
        torch.testing.assert_close(w.grad, core.balance(g), rtol=0, atol=1e-15)
    aggregator.reset()
    torch.testing.assert_close(aggregator(grads[0]), RGB(mu=0.5).balance(grads[0]))


@pytest.mark.parametrize("name", RIVALS)
def test_absent_package_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(MissingDependencyError, match=r"aime-agent\[torchjd\]"):
        make_balancer(name)


@needs_torchjd
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: make_balancer("mgda", c=1.0), ConfigError, "mgda.*'c'"),
        (lambda: make_balancer("mgda").backward([torch.zeros(())]), ConfigError, "must be set"),
        (lambda: make_balancer("mgda", list).backward([torch.zeros(())]), ConfigError, "trainable"),
        (lambda: make_balancer("mgda").load_state_dict({}), CheckpointError, "mgda"),
    ],
)
def test_misuse_of_a_rival_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("norm_mean", {"aggregate": "mean"}, "fixes aggregate"),
        ("norm_mean_ema", {"alpha_steps": 3}, "fixes alpha_steps"),
    ],
)
def test_wrong_choice_is_named(name, settings, text):
    with pytest.raises(ConfigError, match=text):
        make_balancer(name, **settings)
