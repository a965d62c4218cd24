"""The top-down stream."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import AttentionPrior, AttentionPriorConfig
from aime_agent.attention.attention_prior import pooling_matrix, spreading_matrix
from aime_agent.attention.grid_attention import GridAttentionBlock, relative_offsets
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.regularizers import categorical_kl, map_movement, movement_huber
from aime_agent.functional.spatial import normalize_mass

SMALL = {
    "attention_resolution": 6,
    "hidden_dim": 5,
    "latent_dim": 3,
    "motion_kernels": 2,
    "num_heads": 2,
    "feature_dim": 8,
    "convgru_hidden_size": 4,
    "convgru_kernel_size": 3,
}


def make(train=False, **kw):
    torch.manual_seed(0)
    net = AttentionPrior(**{**SMALL, **kw}).train(train)
    torch.nn.init.normal_(net.film.weight, std=0.3)
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


def inputs(net, batch=2):
    c, g = net.config, torch.Generator().manual_seed(1)
    side = c.attention_resolution
    maps = torch.rand(batch, side, side, generator=g)
    return [normalize_mass(maps), *(torch.randn(batch, d, generator=g) for d in _dims(c))]


def _dims(c):
    return c.hidden_dim, c.latent_dim


def test_predicted_map_is_a_distribution_for_any_input():
    net = make()
    _, h, z = inputs(net)
    for maps in (torch.randn(2, 6, 6), torch.zeros(2, 6, 6), -torch.ones(2, 6, 6)):
        probs, info = net(maps, h, z)
        assert_close(probs.sum((-2, -1)), torch.ones(2))
        assert all(x.isfinite().all() for x in info.values() if isinstance(x, torch.Tensor))


def test_info_has_the_seeds_shapes():
    net = AttentionPrior()
    probs, info = net(torch.randn(2, 21, 21), torch.randn(2, 256), torch.randn(2, 32))
    assert info["spatial_features"].shape == (2, 32, 21, 21)
    assert info["motion_features"].shape == (2, 8, 21, 21)
    assert [x.shape for x in info["predicted_movement"]] == [(2, 21, 21)] * 2
    assert_close(info["attention_logits"].flatten(1).softmax(1).view_as(probs), probs)


def test_state_is_carried():
    net = make()
    x = inputs(net)
    first, info = net(*x)
    assert_close(net(*x)[0], first)
    assert not torch.allclose(net(*x, info["state"])[0], first)


def test_shift_is_the_movement_under_the_last_map():
    net = make()
    x = inputs(net)
    out = net.predict(x[0], net.initial_memory(2), *x[1:])
    assert_close(out.shift, torch.einsum("bhw,bchw->bc", x[0], out.movement))


def test_a_fresh_prior_predicts_no_movement_and_can_learn_one():
    net = AttentionPrior(**SMALL)
    x = inputs(net)
    out = net.predict(x[0], net.initial_memory(2), *x[1:])
    assert not out.movement.any()
    movement_huber(out.shift, torch.ones(2, 2)).sum().backward()
    assert (net.head.weight.grad[1:].abs().sum(1) > 0).all()


def test_movement_stays_within_its_limit_and_depends_on_the_state():
    net = make(max_movement=0.5)
    x = inputs(net)
    out = net.predict(x[0], net.initial_memory(2), *x[1:])
    other = net.predict(x[0], net.initial_memory(2), -x[1], x[2])
    assert out.movement.abs().max() <= 0.5
    assert not torch.allclose(out.shift, other.shift)


@pytest.mark.parametrize("pooled", [None, 3])
@pytest.mark.parametrize("attend", [True, False])
def test_every_parameter_gets_a_gradient(pooled, attend):
    net = make(train=True, pooled_resolution=pooled, self_attention=attend)
    x = inputs(net)
    memory = net.predict(x[0], net.initial_memory(2), *x[1:]).memory
    out = net.predict(x[0], memory, *x[1:])
    (out.log_probs.square().sum() + out.shift.square().sum()).backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert missing == []


@pytest.mark.parametrize(
    "change",
    [
        {"attention_resolution": 7},
        {"hidden_dim": 6},
        {"latent_dim": 4},
        {"motion_kernels": 3},
        {"motion_kernels": 0},
        {"num_heads": 4},
        {"feature_dim": 16},
        {"use_relative_position_bias": False},
        {"convgru_hidden_size": 5},
        {"convgru_kernel_size": 5},
        {"self_attention": False},
        {"pooled_resolution": 3},
        {"group_norm": False},
        {"max_movement": 1.0},
    ],
)
def test_settings_act(change):
    outs = []
    for net in (make(), make(**change)):
        x = inputs(net)
        out = net.predict(x[0], net.initial_memory(2), *x[1:])
        size = sum(p.numel() for p in net.parameters())
        outs.append((out.log_probs.sum().item(), out.shift.sum().item(), size))
    assert outs[0] != outs[1]


@pytest.mark.parametrize("attend", [True, False])
def test_dropout_acts_in_training_only(attend):
    runs = {}
    for train in (False, True):
        for p in (0.0, 0.5):
            net = make(train, dropout=p, self_attention=attend)
            runs[train, p] = net(*inputs(net))[0]
    assert_close(runs[False, 0.5], runs[False, 0.0])
    assert not torch.allclose(runs[True, 0.5], runs[True, 0.0])


def test_checkpointing_stores_less_and_changes_nothing():
    stored, grads = [], []
    for use in (False, True):
        net, seen = make(train=True, use_checkpoint=use, dropout=0.0), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=seen: (s.append(1), t)[1], _same):
            loss = net(*inputs(net))[0].square().sum()
        loss.backward()
        stored.append(len(seen))
        grads.append(net.film.weight.grad)
    assert stored[1] < stored[0]
    assert_close(grads[0], grads[1])


def _same(tensor):
    return tensor


def test_pooling_keeps_mass_and_spreading_keeps_constants():
    maps = torch.rand(3, 49)
    assert_close((maps @ pooling_matrix(7, 3)).sum(1), maps.sum(1))
    assert_close(torch.ones(1, 9) @ spreading_matrix(3, 7), torch.ones(1, 49))


def test_relative_offsets_depend_on_the_difference_only():
    index = relative_offsets(4)
    assert index[0, 5] == index[5, 10] == index[10, 15]
    assert index.unique().numel() == 49


def test_relative_bias_can_look_at_the_left_neighbour():
    block = GridAttentionBlock(4, 3, 1, True, 0.0)
    torch.nn.init.constant_(block.bias, -30.0)
    with torch.no_grad():
        block.bias[0, block.offset_index[4, 3]] = 30.0
    x = torch.randn(1, 9, 4)
    changed = x.clone()
    changed[:, 0] += torch.randn(4)
    moved = (block(changed) - block(x)).abs().sum(-1)[0] > 1e-4
    assert moved.tolist()[:2] == [True, True]
    assert not moved[4]


def test_compact_fits_its_budget():
    net = AttentionPrior(AttentionPriorConfig.compact(hidden_dim=256, latent_dim=32))
    assert sum(p.numel() for p in net.parameters()) < 8000
    assert net.initial_memory(3).shape == (3, 8, 8, 8)
    assert_close(net.initial_attention(3).sum((-2, -1)), torch.ones(3))


def test_runs_in_float64():
    net = make(pooled_resolution=3).double()
    x = [t.double() for t in inputs(net)]
    assert net(*x)[0].dtype == torch.float64


def drift(batch, velocity):
    column = 2 + 9 * torch.rand(batch, 1, 1)
    row, grid = torch.full((batch, 1, 1), 7.5), torch.arange(16.0)
    blob = [
        torch.exp(-0.5 * ((grid[:, None] - row) ** 2 + (grid - column - t * velocity) ** 2) / 2.25)
        for t in range(4)
    ]
    return normalize_mass(torch.stack(blob, 1))


def test_drift_of_a_blob_is_learned():
    torch.manual_seed(0)
    config = AttentionPriorConfig.compact(hidden_dim=4, latent_dim=2)
    net = AttentionPrior(config)
    optimizer = torch.optim.Adam(net.parameters(), 2e-2)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 2e-2 * (1 - step / 150) + 1e-4
        velocity = torch.randint(0, 2, (16, 1, 1)) * 2.0 - 1
        hidden = velocity.view(-1, 1).expand(-1, 4)
        maps, memory, loss = drift(16, velocity), net.initial_memory(16), 0
        moved = map_movement(maps)
        for t in range(3):
            out = net.predict(maps[:, t], memory, hidden, torch.zeros(16, 2))
            memory = out.memory
            loss = loss + movement_huber(out.shift, moved[:, t]).mean()
            loss = loss + 0.1 * categorical_kl(maps[:, t + 1], out.log_probs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (out.shift - moved[:, -1]).abs().mean()
    assert error < 0.05, error


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_heads": 3}, "feature_dim must be a multiple of num_heads, found 8 and 3"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"pooled_resolution": 9}, "pooled_resolution must be between"),
        ({"attention_resolution": 1}, "attention_resolution must be at least 2"),
        ({"max_movement": 0.0}, "max_movement must be positive"),
        ({"motion_kernels": -1}, "motion_kernels must not be negative"),
        ({"convgru_kernel_size": 4}, "kernel_size must be odd"),
        ({"motion_kernel": 3}, "motion_kernels"),
    ],
)
def test_bad_options_are_named(change, text):
    with pytest.raises(ConfigError, match=text):
        make(**change)


def test_wrong_map_is_named():
    net = make()
    x = inputs(net)
    with pytest.raises(ShapeError, match="prev_attention: dimension 1 must be 6"):
        net(torch.rand(2, 7, 7), *x[1:])


def look_at(net, goals, steps):
    """Mass at corner (0, 0) for goal −1 and at (5, 5) for goal 1, after learning that."""
    uniform = torch.full((2, 6, 6), 1 / 36)
    h, z, memory = torch.zeros(2, 5), torch.zeros(2, 3), net.initial_memory(2)
    adam = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(steps):
        log_probs = net.predict(uniform, memory, h, z, goals).log_probs
        loss = -(log_probs[0, 0, 0] + log_probs[1, 5, 5])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return log_probs[0, 0, 0].exp().item(), log_probs[1, 5, 5].exp().item()


def test_goal_decides_where_to_look():
    """Same past, same state: only the goal can tell the corners apart."""
    goals = torch.tensor([[-1.0], [1.0]])
    assert min(look_at(make(goal_dim=1), goals, 80)) > 0.9
    blind = look_at(make(), goals[:, :0], 80)
    assert sum(blind) < 1.01


def test_goal_of_the_seeds_call():
    net = make(goal_dim=2)
    maps, h, z = inputs(net)
    goal = torch.randn(2, 2)
    assert not torch.equal(net(maps, h, z, goal=goal)[0], net(maps, h, z)[0])
    assert_close(net(maps, h, z, goal=torch.zeros(2, 2))[0], net(maps, h, z)[0])
    with pytest.raises(ShapeError, match="goal"):
        net(maps, h, z, goal=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="goal_dim must not be negative"):
        make(goal_dim=-1)
