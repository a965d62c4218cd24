"""What the seed documents' formulas do, in numbers, beside what stands in their place.

Every figure of docs/differences.md about a seed's formula is computed here from that formula.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention.fusion import fuse_slot_maps
from aime_agent.functional import gaussian
from aime_agent.functional.kumaraswamy import log_stick
from aime_agent.functional.regularizers import slot_diversity
from aime_agent.functional.spatial import center_of_mass, normalize_mass
from aime_agent.functional.stick_breaking import log_weights
from aime_agent.representation.modulation import attention_gain

SIDE, CELLS = 21, 441


def block(row, column, size=4):
    m = torch.zeros(SIDE, SIDE).double()
    m[row : row + size, column : column + size] = 1
    return m


def softmax_over_cells(maps):
    return maps.flatten(-2).softmax(-1).view_as(maps)


def entropy(p):
    return torch.special.entr(p).sum()


def test_sum_over_inputs_grows_with_their_number():
    q, x = torch.randn(4, 8).double(), torch.randn(CELLS, 8).double()
    attn, twice = ((q @ torch.cat([x] * n).T).softmax(0) for n in (1, 2))
    assert_close(twice @ torch.cat([x, x]), 2 * (attn @ x))
    mean = twice @ torch.cat([x, x]) / twice.sum(1, keepdim=True)
    assert_close(mean, attn @ x / attn.sum(1, keepdim=True))


def test_equal_weights_on_responsibilities_are_blind():
    logits = torch.randn(4, CELLS, requires_grad=True, dtype=torch.float64)
    shares = logits.softmax(0)
    fused = shares.mean(0)
    assert_close(fused.detach(), torch.full((CELLS,), 0.25).double())
    (slope,) = torch.autograd.grad(fused[0], logits, retain_graph=True)
    assert slope.abs().max() < 1e-16
    maps = normalize_mass(shares.view(1, 4, SIDE, SIDE))
    ours = fuse_slot_maps(maps, torch.zeros(1, 4).double(), "weighted").attention
    assert torch.autograd.grad(ours[0, 0, 0].log(), logits)[0].abs().max() > 1e-3


def test_second_softmax_cannot_leave_uniform():
    steps = torch.ones(CELLS, CELLS).double().tril()  # the k most extreme maps, one per count
    p = steps.softmax(-1)
    kl = math.log(CELLS) - torch.special.entr(p).sum(-1)
    assert kl.max().item() == pytest.approx(0.1233, abs=1e-4)
    assert (p - 1 / CELLS).abs().sum(-1).div(2).max().item() == pytest.approx(0.245, abs=1e-3)
    assert p[0, 0].item() == pytest.approx(0.0061, abs=1e-4)


def test_second_softmax_moves_a_corner_to_the_centre():
    corner, opposite = block(0, 0), block(17, 17)
    soft = [center_of_mass(softmax_over_cells(m)) for m in (corner, opposite)]
    ours = [center_of_mass(m) for m in (corner, opposite)]
    assert_close(soft[0], torch.full((2,), -0.05).double(), atol=1e-3, rtol=0)
    assert_close(ours[0], torch.full((2,), -0.85).double(), atol=1e-5, rtol=0)
    assert_close(soft[1] - soft[0], torch.full((2,), 0.10).double(), atol=1e-3, rtol=0)
    assert_close(ours[1] - ours[0], torch.full((2,), 1.70).double(), atol=1e-5, rtol=0)


def test_diversity_of_softmaxed_maps_punishes_disjoint_slots():
    quarters = torch.zeros(4, CELLS).double()
    for i in range(4):
        quarters[i, 110 * i : 110 * (i + 1) + (i == 3)] = 1
    quarters = quarters.view(4, SIDE, SIDE)
    seed = slot_diversity(softmax_over_cells(quarters)[None])
    assert seed.item() == pytest.approx(0.512, abs=1e-3)
    assert slot_diversity(quarters[None]).item() == 0
    objects = torch.stack([block(0, 0), block(8, 8), block(16, 16)])
    scene = torch.cat([objects, 1 - objects.sum(0, keepdim=True)])
    assert slot_diversity(softmax_over_cells(scene)[None]).item() == pytest.approx(0.82, abs=0.01)
    assert slot_diversity(scene[None]).item() == pytest.approx(0, abs=1e-12)


def test_attention_to_copies_of_one_token_adds_a_constant():
    net = torch.nn.MultiheadAttention(64, 4, batch_first=True).double()
    tokens = torch.randn(1, CELLS, 64).double()
    copies = torch.randn(1, 1, 64).double().expand(1, CELLS, 64)
    out, _ = net(tokens, copies, copies, need_weights=False)
    assert (out - out[:, :1]).abs().max() < 1e-13


def test_mean_of_a_convolved_map_is_a_constant():
    conv = torch.nn.Conv2d(1, 2, 5, padding=2).double()
    maps = torch.zeros(200, 1, SIDE, SIDE).double()
    maps[..., 2:-2, 2:-2] = torch.rand(200, 1, SIDE - 4, SIDE - 4).double()
    maps = maps / maps.sum((-2, -1), keepdim=True)
    field = conv(maps).mean((-2, -1))
    assert field.std(0).max() < 1e-16
    assert_close(field[0], conv.weight.sum((1, 2, 3)) / CELLS + conv.bias)


def test_map_as_factor_shrinks_features_and_a_gain_does_not():
    maps = normalize_mass(torch.rand(200, SIDE, SIDE).double())
    once = maps.mean().item()
    assert once == pytest.approx(0.0023, abs=1e-4)
    assert once**2 == pytest.approx(5e-6, abs=2e-7)
    assert attention_gain(maps, 0.7, (8, 8)).mean().item() == pytest.approx(1)


def test_attention_as_error_weight_goes_where_the_error_is_least():
    error = torch.rand(CELLS).double() + 0.1
    logits = torch.zeros(CELLS, requires_grad=True, dtype=torch.float64)
    adam = torch.optim.Adam([logits], 0.5)
    for _ in range(300):
        adam.zero_grad()
        (logits.softmax(0) * error).sum().backward()
        adam.step()
    assert logits.argmax() == error.argmin()
    assert logits.softmax(0).max() > 0.9


def test_products_of_sticks_underflow_where_logarithms_do_not():
    log_a, log_b = torch.full((14,), 4.0), torch.full((14,), -4.0)
    stick = log_stick(log_a, log_b, torch.empty(2000, 14).exponential_())
    v = stick.log_v.exp()
    left = (1 - v).cumprod(-1)
    assert (left[:, -1] == 0).float().mean() > 0.99
    assert log_weights(*stick).isfinite().all()


def test_mean_of_a_mixture_lies_where_nothing_is():
    log_pi = torch.tensor([0.5, 0.5]).double().log()
    means, stds = torch.tensor([[-1.0], [1.0]]).double(), torch.full((2, 1), 0.1).double()
    between = (log_pi.exp()[:, None] * means).sum(0)
    at = gaussian.sample_mixture(
        log_pi, means, stds, torch.zeros(1).double(), torch.tensor(0.3).double(), 0.0
    )
    density = [gaussian.mixture_log_prob(z, log_pi, means, stds) for z in (at, between)]
    assert density[0] - density[1] > 49


def test_one_key_gets_all_attention_whatever_the_query():
    query, key = torch.randn(5, 1, 16), torch.randn(5, 1, 16)
    weights = (query @ key.mT / 4).softmax(-1)
    assert (weights == 1).all()
    assert entropy(weights) == 0


def test_movement_of_one_cell_is_seen_in_cells_and_not_in_unit_coordinates():
    cell = torch.tensor([2 / (SIDE - 1), 0.0])
    huber = torch.nn.functional.smooth_l1_loss
    assert huber(cell, torch.zeros(2), reduction="sum").item() == pytest.approx(0.005, abs=1e-4)
    assert huber(cell * 10, torch.zeros(2), reduction="sum").item() == pytest.approx(0.5)


def test_prior_map_drowns_under_positions_unless_it_is_scaled():
    maps = normalize_mass(torch.rand(50, SIDE, SIDE))
    position = 0.02 * torch.randn(CELLS, 64)
    assert maps.std() < position.std() / 10
    assert (maps * CELLS).log1p().std() > 10 * position.std()


def test_mean_error_against_summed_kl_is_ten_thousand_to_one():
    x, y = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    mean = torch.nn.functional.mse_loss(x, y)
    nll = 0.5 * (x - y).square().flatten(1).sum(1).mean()
    assert (nll / mean).item() == pytest.approx(12_288 / 2)


def test_generator_learns_nothing_from_detached_frames():
    frames = torch.rand(2, 3, 8, 8, requires_grad=True)
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1))
    loss = -critic(frames.detach()).sigmoid().log().mean()
    assert torch.autograd.grad(loss, frames, allow_unused=True) == (None,)


def test_per_step_entropy_bonus_pushes_every_state_to_even_weights():
    logits = (5 * torch.eye(3)).requires_grad_()
    weights = logits.softmax(-1)
    per_state = torch.special.entr(weights).sum(-1).mean()
    over_batch = torch.special.entr(weights.mean(0)).sum()
    (away,) = torch.autograd.grad(per_state, logits, retain_graph=True)
    (still,) = torch.autograd.grad(over_batch, logits)
    assert (away.diagonal() < -1e-3).all()
    assert still.abs().max() < 1e-6
