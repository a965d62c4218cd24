"""RGB: the rows of a reference table, its laws, its contract and its memory."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy import optimize
from torch.nn import Parameter
from torch.nn.functional import normalize

from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.optimization import RGB, PlainSum, RGBConfig, make_balancer

CONVERGED = {"alpha_steps": 600, "scale": "unit"}


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def degrees(rgb):
    return rgb.state_dict()["angles"].rad2deg()


def at_angle(angle):
    a = math.radians(angle)
    return rows([1, 0], [math.cos(a), math.sin(a)])


def losses_of(grads):
    """One parameter whose task gradients are the given rows."""
    w = Parameter(torch.zeros(grads.shape[1], dtype=grads.dtype))
    return w, [w @ g for g in grads]


@pytest.mark.parametrize(
    ("grads", "steps", "angle", "update"),
    [
        (rows([1, 0], [0, 1]), 600, 36.375, [0.69911, 0.69911]),
        (rows([1, 0], [0, 1]), 3, 15.82, [0.6174, 0.6174]),
        (rows([1e3, 0], [0, 1e-3]), 600, 36.375, [0.69911, 0.69911]),
        (rows([1, 2], [1, 2]), 600, 0.0, [0.4472, 0.8944]),
        (rows([1, 0], [-1, 0]), 600, 0.0, [0.0, 0.0]),
        (rows([10, 0], [-0.5, 0.8660254]), 600, 48.93, [0.4907, 0.8499]),
    ],
)
def test_update_has_the_known_value(grads, steps, angle, update):
    rgb = RGB(alpha_steps=steps, scale="unit")
    torch.testing.assert_close(rgb.balance(grads), rows(*update), atol=1e-4, rtol=0)
    assert degrees(rgb).sub(angle).abs().max() < 0.01


def test_nearly_opposite_gradients_give_full_length_along_noise():
    rgb, grads = RGB(**CONVERGED), at_angle(179)
    update = rgb.balance(grads)
    assert abs(update.norm() - 0.968) < 1e-3
    assert abs(update @ grads[0] - 0.0085) < 1e-3
    assert degrees(rgb).sub(75.06).abs().max() < 0.01


def three_against_one():
    return torch.cat([rows([1, 0]).expand(3, 2), at_angle(120)[1:]])


def test_projection_keeps_an_outvoted_task_from_being_opposed():
    grads = three_against_one()
    assert abs(RGB(**CONVERGED).balance(grads) @ grads[3] + 0.0750) < 1e-4
    assert RGB(**CONVERGED, project=True).balance(grads) @ grads[3] > -1e-9


def minimiser(grads):
    """RGB's update by brute force: J on whole vectors, handed to a bounded optimiser."""
    unit = normalize(grads, dim=-1).numpy()
    d = unit.mean(0) / np.linalg.norm(unit.mean(0))
    w = d - (unit @ d)[:, None] * unit
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    count = len(unit)

    def rotated(alpha):
        return np.cos(alpha)[:, None] * unit + np.sin(alpha)[:, None] * w

    def objective(alpha):
        r = rotated(alpha)
        apart = np.triu(1 - r @ r.T, 1).sum() / (count * (count - 1))
        return apart + ((r - unit) ** 2).sum() / (4 * count)

    most = np.minimum(np.arccos(unit @ d), math.pi / 2)
    found = optimize.minimize(objective, most / 4, bounds=[(0, m) for m in most], tol=1e-14)
    return rotated(found.x).mean(0)


@pytest.mark.parametrize("grads", [at_angle(120), at_angle(179), three_against_one()])
def test_angles_are_the_minimisers_of_the_objective(grads):
    rgb = RGB(alpha_steps=3000, scale="unit")
    np.testing.assert_allclose(rgb.balance(grads).numpy(), minimiser(grads), atol=2e-5)


@pytest.mark.parametrize(("count", "least", "most"), [(4, 0, 4), (11, 22, 36)])
def test_many_tasks_are_opposed_at_times_and_never_after_projection(count, least, most):
    torch.manual_seed(0)
    stream = torch.randn(50, count, 20, dtype=torch.float64)
    opposed = []
    for project in (False, True):
        updates = [RGB(alpha_steps=40, project=project).balance(g) for g in stream]
        worst = [(g @ v).min().item() for g, v in zip(stream, updates, strict=True)]
        opposed.append(sum(value < -1e-9 for value in worst))
    assert least <= opposed[0] <= most
    assert opposed[1] == 0


def test_a_task_of_pure_noise_bends_the_update_unless_it_is_gated():
    grads = rows([1, 0, 0], [0.5, 1, 0], [0, 0, 1e-6])
    aim = normalize(normalize(grads[:2], dim=-1).sum(0), dim=0)
    cosines = [normalize(RGB(eps=eps).balance(grads), dim=0) @ aim for eps in (1e-8, 1e-5)]
    assert cosines[0] < 0.9
    assert cosines[1] > 1 - 1e-9


def test_two_tasks_without_memory_follow_the_bisector():
    grads = torch.randn(2, 9, dtype=torch.float64)
    update = RGB(mu=0.0).balance(grads)
    bisector = normalize(grads, dim=-1).sum(0)
    torch.testing.assert_close(normalize(update, dim=0), normalize(bisector, dim=0))


def vector_form(stream, steps=3, lr=0.2, mu=0.9):
    """The paper's loop on whole vectors, without any Gram matrix."""
    d, alpha, out = None, torch.zeros(len(stream[0])).double(), []
    for g in stream:
        unit, count = normalize(g, dim=-1), len(g)
        y = normalize(unit.mean(0), dim=0)
        d = y if d is None else normalize(mu * d + (1 - mu) * y, dim=0)
        cosine = unit @ d
        w = normalize(d - cosine[:, None] * unit, dim=-1)
        for _ in range(steps):
            a = alpha.clone().requires_grad_()
            r = a.cos()[:, None] * unit + a.sin()[:, None] * w
            apart = torch.triu(1 - r @ r.T, 1).sum() / (count * (count - 1))
            (apart + (r - unit).square().sum() / (4 * count)).backward()
            alpha = (
                (alpha - lr * a.grad).clamp_min(0).minimum(cosine.arccos().clamp_max(math.pi / 2))
            )
        out.append((alpha.cos()[:, None] * unit + alpha.sin()[:, None] * w).mean(0))
    return out


def test_gram_form_equals_vector_form_over_a_stream():
    torch.manual_seed(0)
    stream = torch.randn(20, 4, 30, dtype=torch.float64) + 0.3
    rgb = RGB(scale="unit")
    for grads, expected in zip(stream, vector_form(stream), strict=True):
        torch.testing.assert_close(rgb.balance(grads), expected, atol=1e-12, rtol=0)


def test_backward_equals_balance_on_the_same_gradients():
    grads = torch.randn(3, 5, dtype=torch.float64)
    w, losses = losses_of(grads)
    weights = RGB(get_share_params=lambda: [w]).backward(losses)
    torch.testing.assert_close(w.grad, RGB().balance(grads))
    assert isinstance(weights, np.ndarray)
    assert weights.shape == (3,)


def test_seed_contract_by_attributes():
    model, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    rgb = RGB()
    rgb.task_num, rgb.device, rgb.rep_grad = 2, x.device, False
    rgb.get_share_params = lambda: model.parameters()
    out = model(x)
    rgb.backward([out.square().mean(), (out - 1).square().mean()])
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"task_num": 3}, "task_num is 3, found 2"),
        ({"rep_grad": True}, "rep_grad"),
        ({"get_share_params": None}, "get_share_params must be set"),
        ({"get_share_params": list}, "no trainable parameter"),
    ],
)
def test_broken_contract_is_named(attributes, text):
    w, losses = losses_of(rows([1, 0], [0, 1]))
    rgb = RGB(**{"get_share_params": lambda: [w], **attributes})
    with pytest.raises(ConfigError, match=text):
        rgb.backward(losses)


@pytest.mark.parametrize(
    "bad",
    [
        {"mu": 1.0},
        {"lambd": -1.0},
        {"alpha_steps": -1},
        {"update_interval": 0},
        {"align_threshold": 0.0},
        {"norm_mu": 1.5},
    ],
)
def test_bad_setting_is_named(bad):
    with pytest.raises(ConfigError, match=f"RGBConfig.{next(iter(bad))}"):
        RGBConfig(**bad)


def test_unknown_setting_is_named():
    with pytest.raises(ConfigError, match="lambd"):
        RGB(lamda=1.0)


def run(count=3, grads=None, task_weights=None, **settings):
    torch.manual_seed(1)
    rgb = RGB(**settings)
    stream = torch.randn(count, 3, 6).double() + 0.5 if grads is None else grads
    for g in stream:
        update = rgb.balance(g, task_weights)
    return update


@pytest.mark.parametrize(
    "changed",
    [
        {"mu": 0.5},
        {"lambd": 0.1},
        {"alpha_steps": 9},
        {"lr_inner": 0.01},
        {"eps": 3.0},
        {"align_threshold": 0.3},
        {"aggregate": "norm_sum"},
        {"scale": "unit"},
        {"gate": 1.1},
        {"norm_mu": 0.1},
        {"task_weights": [1, 1, 2]},
    ],
)
def test_every_setting_acts(changed):
    assert not torch.allclose(run(), run(**changed))


def test_task_weights_act_after_normalisation():
    grads = rows([1, 0], [0, 1])
    heavy = RGB(**CONVERGED).balance(grads, [4.0, 1.0])
    assert heavy[0] > 1.5 * heavy[1]
    only = RGB(**CONVERGED).balance(grads, [1.0, 0.0])
    torch.testing.assert_close(only, rows(1, 0))


def test_loss_scale_of_a_task_does_not_act_on_the_direction():
    grads = torch.randn(3, 6, dtype=torch.float64)
    scaled = grads * rows([1.0], [1e4], [1e-4])
    torch.testing.assert_close(RGB(scale="unit").balance(scaled), RGB(scale="unit").balance(grads))


@pytest.mark.parametrize("noise", [0.0, 1e-12, float("nan"), float("inf")])
def test_task_without_a_usable_gradient_has_no_vote(noise):
    grads = rows([1, 0, 0], [0.5, 1, 0])
    with_third = torch.cat([grads, rows([0, 0, noise])])
    torch.testing.assert_close(RGB().balance(with_third), RGB().balance(grads))


def test_task_far_below_its_own_average_is_dropped():
    grads = rows([1, 0, 0], [0.5, 1, 0], [0, 0, 1])
    faded = torch.cat([grads[:2], grads[2:] * 1e-6])
    rgb, open_gate = RGB(mu=0.0), RGB(mu=0.0, gate=0.0)
    for balancer in (rgb, open_gate):
        balancer.balance(grads)
    assert rgb.balance(faded)[2] == 0
    assert open_gate.balance(faded)[2] > 0.1


def test_last_task_standing_keeps_its_raw_gradient():
    grads = rows([3, 4], [0, 0])
    torch.testing.assert_close(RGB().balance(grads), grads[0])


def test_ema_norm_gives_the_update_the_length_of_a_gradient():
    update = RGB(alpha_steps=0).balance(rows([6, 0], [2, 0]))
    torch.testing.assert_close(update, rows(4, 0))


def test_norm_sum_adds_magnitudes():
    update = RGB(alpha_steps=0, aggregate="norm_sum").balance(rows([6, 0], [0, 2]))
    torch.testing.assert_close(update, rows(6, 2))


def test_private_parameters_keep_their_plain_gradient():
    shared, mine, outside = (Parameter(torch.ones(2)) for _ in range(3))
    rgb = RGB(get_share_params=lambda: [shared, mine])
    rgb.backward(
        [(shared * 100).sum(), (shared[0] - shared[1]) + 7 * mine.sum() + 5 * outside.sum()]
    )
    torch.testing.assert_close(mine.grad, torch.full((2,), 7.0))
    torch.testing.assert_close(outside.grad, torch.full((2,), 5.0))
    assert shared.grad.norm() < 142


def test_backward_adds_to_existing_gradients():
    w, losses = losses_of(rows([1, 0], [0, 1]))
    w.grad = rows(10, 10)
    RGB(get_share_params=lambda: [w], scale="unit").backward(losses)
    torch.testing.assert_close(w.grad, rows(10.6174, 10.6174), atol=1e-4, rtol=0)


def test_absent_task_has_no_vote_and_no_weight():
    w, losses = losses_of(rows([1, 0], [0, 1], [1, 1]))
    rgb = RGB(get_share_params=lambda: [w])
    weights = rgb.backward([losses[0], None, losses[2]])
    assert weights[1] == 0
    np.testing.assert_array_equal(rgb.backward([None, None, torch.tensor(1.0)]), np.zeros(3))


def test_loss_that_is_not_finite_is_absent():
    w, losses = losses_of(rows([1, 0], [0, 1]))
    RGB(get_share_params=lambda: [w]).backward([losses[0], losses[1] * float("nan")])
    torch.testing.assert_close(w.grad, rows(1, 0))


def test_calls_between_balances_reuse_the_weights():
    shared, mine = Parameter(torch.zeros(3).double()), Parameter(torch.zeros(2).double())
    grads = torch.randn(2, 3, dtype=torch.float64)
    results = []
    for interval in (1, 2):
        rgb = RGB(get_share_params=lambda: [shared, mine], update_interval=interval, lr_inner=0.0)
        for _ in range(2):
            shared.grad = mine.grad = None
            rgb.backward([shared @ grads[0] + 3 * mine.sum(), shared @ grads[1]])
        results.append((shared.grad, mine.grad))
    torch.testing.assert_close(results[0], results[1])


def test_update_interval_acts():
    w, grads = Parameter(rows(0, 0)), {}
    for interval in (1, 2):
        rgb = RGB(get_share_params=lambda: [w], update_interval=interval)
        for _ in range(2):
            w.grad = None
            rgb.backward([w[0] * 1.0, w[1] * 1.0])
        grads[interval] = w.grad
    assert not torch.allclose(grads[1], grads[2])


def test_state_continues_exactly_through_safetensors():
    torch.manual_seed(0)
    stream = torch.randn(6, 3, 8)
    rgb, other = RGB(), RGB()
    for g in stream[:3]:
        rgb.balance(g)
    other.load_state_dict(load(save(rgb.state_dict())))
    for g in stream[3:]:
        assert torch.equal(rgb.balance(g), other.balance(g))


def test_fresh_state_survives_safetensors():
    rgb = RGB()
    rgb.load_state_dict(load(save(RGB().state_dict())))
    assert torch.equal(rgb.balance(torch.eye(2)), RGB().balance(torch.eye(2)))


def test_foreign_state_is_refused():
    with pytest.raises(CheckpointError, match="angles"):
        RGB().load_state_dict({"consensus": torch.zeros(2)})


def test_state_resets_when_the_parameters_change():
    rgb = RGB()
    rgb.balance(torch.randn(2, 5))
    grads = torch.randn(2, 7)
    assert torch.equal(rgb.balance(grads), RGB().balance(grads))


def toy_losses(x):
    """The two-task toy of CAGrad (Liu et al., 2021) with the first loss scaled by 0.1."""
    x1, x2 = x
    f1 = ((0.5 * (-x1 - 7) - torch.tanh(-x2)).abs().clamp_min(5e-6)).log() + 6
    f2 = ((0.5 * (-x1 + 3) + torch.tanh(-x2) + 2).abs().clamp_min(5e-6)).log() + 6
    g1 = ((-x1 + 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    g2 = ((-x1 - 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    up, down = torch.tanh(x2 / 2).clamp_min(0), torch.tanh(-x2 / 2).clamp_min(0)
    return [0.1 * (f1 * up + g1 * down), f2 * up + g2 * down]


def toy_end(start, steps, first_lr, last_lr, name="rgb", **settings):
    x = Parameter(torch.tensor(start, dtype=torch.float64))
    balancer = make_balancer(name, lambda: [x], **settings)
    adam = torch.optim.Adam([x], lr=first_lr)
    for k in range(steps):
        adam.param_groups[0]["lr"] = first_lr * (last_lr / first_lr) ** (k / steps)
        adam.zero_grad()
        balancer.backward(toy_losses(x))
        adam.step()
    return x.detach()


def test_toy_stays_between_the_tasks_where_the_sum_follows_the_larger():
    x1, x2 = toy_end((0.0, -2.0), 100, 0.1, 0.02)
    assert abs(x1) < 1
    assert -9 < x2 < -5
    assert toy_end((0.0, -2.0), 100, 0.1, 0.02, "sum")[0] < -2.5


def test_toy_without_memory_stops_where_two_task_balancers_do():
    end = toy_end((9.0, -1.0), 700, 0.012, 0.008, mu=0.0)
    torch.testing.assert_close(end, rows(5.3, -8.4), atol=0.1, rtol=0)


STARTS = [(-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)]


@pytest.mark.parametrize("start", STARTS)
def test_toy_reaches_the_front_from_every_start(start):
    x1, x2 = toy_end(start, 700, 0.1, 0.001, mu=0.0)
    assert -8.6 < x2 < -8.2
    assert -4 < x1 < 5


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_toy_reaches_the_front_with_memory_too(start):
    x1, x2 = toy_end(start, 1500, 0.05, 0.001)
    assert -8.6 < x2 < -8.2
    assert -4 < x1 < 5


def test_toy_loses_its_balance_when_magnitudes_are_put_back():
    summed = toy_end((0.0, 0.0), 700, 0.1, 0.001, aggregate="norm_sum")
    assert summed[0] < -4


def test_plain_sum_equals_one_backward_pass():
    grads = torch.randn(3, 4, dtype=torch.float64)
    w, losses = losses_of(grads)
    weights = PlainSum().backward([losses[0], None, losses[2]], [1.0, 1.0, 0.5])
    torch.testing.assert_close(w.grad, grads[0] + 0.5 * grads[2])
    np.testing.assert_array_equal(weights, [1.0, 0.0, 0.5])
    assert PlainSum().state_dict() == {}


def test_balancers_are_made_by_name():
    assert isinstance(make_balancer("sum"), PlainSum)
    rgb = make_balancer("rgb", mu=0.5)
    assert isinstance(rgb, RGB)
    assert rgb.config.mu == 0.5


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: make_balancer("sum", mu=0.5), "no settings"),
        (lambda: PlainSum().backward([]), "at least one task"),
        (lambda: PlainSum().backward([torch.zeros(())], [1.0, 2.0]), "1 required, found 2"),
        (lambda: PlainSum().backward([torch.zeros(())], [-1.0]), "at least 0"),
        (lambda: PlainSum().load_state_dict({"x": torch.zeros(1)}), "no state"),
    ],
)
def test_misuse_of_a_balancer_is_named(call, text):
    with pytest.raises(ConfigError, match=text):
        call()
