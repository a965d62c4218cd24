"""Slots over time."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import SlotFilter, SlotFilterConfig, SlotTokens
from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import map_entropy, resize_features

SMALL = {
    "num_slots": 3,
    "slot_dim": 8,
    "slot_mlp_hidden": 8,
    "attention_resolution": 4,
    "feature_channels": 5,
    "token_channels": 6,
    "hidden_dim": 7,
}


def make(**kw):
    torch.manual_seed(0)
    net = SlotFilter(**{**SMALL, **kw}).double()
    torch.nn.init.normal_(net.step.film.weight, std=0.3)
    return net


def features(net, batch=4):
    c, g = net.config, torch.Generator().manual_seed(1)
    return torch.randn(batch, c.feature_channels, 4, 4, generator=g).double()


def hidden(net, batch=4):
    g = torch.Generator().manual_seed(2)
    return torch.randn(batch, net.config.hidden_dim, generator=g).double()


def step(net, first=(False,) * 4):
    slots_hat = net.transition(net.initial_slots(4), hidden(net))
    return net.correct(slots_hat, net.tokens(features(net)), torch.tensor(first))


def test_maps_and_responsibilities_are_distributions():
    out = step(make())
    assert_close(out.responsibilities.sum(1), torch.ones(4, 16).double())
    assert_close(out.attention.sum((-2, -1)), torch.ones(4).double())
    assert_close(out.log_attention.exp(), out.attention)


def test_glimpse_is_read_under_the_map():
    net = make()
    out, tokens = step(net), net.tokens(features(net))
    expected = torch.einsum("bl,blg->bg", out.attention.flatten(1), tokens.glimpse_values)
    assert_close(out.glimpse, expected)


def test_map_power_by_hand_and_sharper():
    plain, sharp = step(make()), step(make(map_power=3.0))
    assert_close(sharp.responsibilities, plain.responsibilities)
    net = make()
    share = net.score(sharp.slots).softmax(1)
    cubed = sharp.responsibilities**3
    expected = (share * cubed / cubed.sum(-1, keepdim=True)).sum(1)
    assert_close(sharp.attention.flatten(1), expected, atol=1e-7, rtol=1e-6)
    assert (map_entropy(sharp.attention) < map_entropy(plain.attention)).all()


def test_sharp_map_of_a_slot_that_owns_next_to_nothing_sums_to_one(monkeypatch):
    net = make(map_power=4.0)
    own = net.bind(net.initial_slots(4), net.tokens(features(net)), torch.ones(4).bool())[1]
    monkeypatch.setattr(net, "bind", lambda *_: (net.initial_slots(4), own * 1e-4))
    assert_close(step(net).attention.sum((-2, -1)), torch.ones(4).double(), atol=1e-3, rtol=0)


def test_transition_keeps_identity_by_index():
    net, order = make(set_attention=True), [2, 0, 1]
    slots = torch.randn(4, 3, 8).double()
    moved = net.transition(slots, hidden(net))
    assert_close(net.transition(slots[:, order], hidden(net)), moved[:, order])


def test_map_does_not_depend_on_the_order_of_slots():
    net, order = make(), [1, 2, 0]
    s_hat, tokens = torch.randn(4, 3, 8).double(), net.tokens(features(net))
    first = torch.zeros(4, dtype=torch.bool)
    a, b = net.correct(s_hat, tokens, first), net.correct(s_hat[:, order], tokens, first)
    assert_close(b.attention, a.attention)
    assert_close(b.slots, a.slots[:, order])


@pytest.mark.parametrize("iterations", [1, 3])
def test_first_frames_forget_the_prediction_and_others_keep_it(iterations):
    net = make(first_iterations=iterations)
    tokens, first = net.tokens(features(net)), torch.tensor([True, False, True, False])
    a = net.correct(torch.randn(4, 3, 8).double(), tokens, first).slots
    b = net.correct(torch.randn(4, 3, 8).double(), tokens, first).slots
    assert_close(a[first], b[first])
    assert (a[~first] - b[~first]).abs().amin((1, 2)).max() > 0


def test_first_frame_equals_slot_attention_with_as_many_iterations():
    net = make(first_iterations=3)
    tokens = net.tokens(features(net))
    found = step(net, (True,) * 4).slots
    assert_close(found, net.binding(tokens.glimpse_values).slots)


def test_batch_of_frames_equals_single_frames():
    net = make()
    whole, frame = net.tokens(features(net)), net.tokens(features(net)[2:3])
    assert_close(SlotTokens(*(x[2:3] for x in whole)), frame)


def test_features_of_any_size_are_resized():
    net = make()
    assert net.tokens(torch.rand(2, 5, 8, 8).double()).k.shape == (2, 16, 8)
    assert net.tokens(torch.rand(2, 5, 3, 3).double()).k.shape == (2, 16, 8)


def test_reading_an_object_in_the_corner():
    net = make(attention_resolution=21)
    m = torch.zeros(2, 5, 3, 21, 21).double()
    m[..., 0, :4, :4] = 1.0
    m[..., 1, :, :] = 1 - m[..., 0, :, :]
    out = net.read(m.flatten(-2))
    assert_close(out.centers[0, 0, 0], torch.full((2,), -0.85).double(), atol=1e-5, rtol=0)
    assert_close(out.centers[0, 0, 2], torch.zeros(2).double())
    assert_close(out.mass[1, 4], torch.tensor([16.0, 425.0, 0.0]).double() / 441)


@pytest.mark.parametrize("gate", ["scalar", "state"])
def test_fusing_a_map_with_itself_changes_nothing(gate):
    net = make(gate=gate)
    out = step(net)
    fused = net.fuse(out.log_attention, out.log_attention, hidden(net))
    assert_close(fused, out.attention)


def test_gate_moves_the_fused_map_between_both():
    net = make()
    a, b = torch.rand(2, 4, 4).double().log(), torch.zeros(2, 4, 4).double()
    torch.nn.init.constant_(net.gate_bias, -30.0)
    assert_close(net.fuse(a, b), torch.full((2, 4, 4), 1 / 16).double())
    torch.nn.init.constant_(net.gate_bias, 30.0)
    assert_close(net.fuse(a, b), a.exp() / a.exp().sum((-2, -1), keepdim=True))


def test_state_gate_needs_the_state():
    net = make(gate="state")
    torch.nn.init.normal_(net.gate.weight)
    maps = [torch.rand(4, 4, 4).double().log() for _ in range(2)]
    assert not torch.allclose(net.fuse(*maps, hidden(net)), net.fuse(*maps, -hidden(net)))
    with pytest.raises(ConfigError, match="needs hidden"):
        net.fuse(*maps)


@pytest.mark.parametrize("change", [{}, {"set_attention": True}, {"gate": "state"}])
def test_every_parameter_gets_a_gradient(change):
    net = make(**change)
    out = step(net, (True, False, True, False))
    fused = net.fuse(out.log_attention, torch.randn(4, 4, 4).double(), hidden(net))
    (out.slots.square().sum() + out.glimpse.sum() + fused.square().sum()).backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert missing == []


@pytest.mark.parametrize("change", [{"first_iterations": 1}, {"set_attention": True}])
def test_settings_change_the_output(change):
    first = (True, False, False, False)
    assert not torch.allclose(step(make(**change), first).slots, step(make(), first).slots)


def test_gradient_rule_acts():
    grads = []
    for rule in ("bilevel", "full"):
        net = make(gradient=rule)
        step(net, (True,) * 4).slots.square().sum().backward()
        grads.append(net.binding.queries.grad)
    assert not torch.allclose(*grads)


@pytest.mark.parametrize("name", SMALL)
def test_sizes_change_the_parameters(name):
    nets = make(), make(**{name: SMALL[name] + 1})
    assert len({sum(p.numel() for p in net.parameters()) for net in nets}) == 2


def test_entropy_below_one_nat_can_be_learned():
    net = make()
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    for _ in range(100):
        loss = map_entropy(step(net).attention).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"first_iterations": 0}, "first_iterations must be at least 1, found 0"),
        ({"map_power": 0.5}, "map_power must be in .1, inf., found 0.5"),
        ({"attention_resolution": 1}, "attention_resolution must be at least 2"),
        ({"num_slots": 0}, "num_slots"),
        ({"slots": 3}, "num_slots"),
    ],
)
def test_bad_options_are_named(change, text):
    with pytest.raises(ConfigError, match=text):
        make(**change)


def test_bad_gate_is_named():
    config = SlotFilterConfig()
    object.__setattr__(config, "gate", "none")
    with pytest.raises(ConfigError, match="gate must be 'scalar' or 'state', found 'none'"):
        config.__post_init__()


def test_matched_identity_undoes_a_swap(monkeypatch):
    """A corrector that hands the slots back in another order: matching puts them right."""
    plain, matched = (make(identity=i, first_iterations=1) for i in ("index", "matched"))
    expected = step(plain)
    iterate, order = matched.binding.iterate, torch.tensor([1, 2, 0])

    def shuffled(*args):
        out = iterate(*args)
        return type(out)(*(x[:, order] for x in out))

    monkeypatch.setattr(matched.binding, "iterate", shuffled)
    found = step(matched, first=(False, False, False, True))
    assert_close(found.slots[:3], expected.slots[:3])
    assert_close(found.responsibilities[:3], expected.responsibilities[:3])
    queries = step(plain, first=(False, False, False, True)).slots[3]
    assert_close(found.slots[3], queries[order])  # nothing to match on a first frame


def test_matched_identity_is_the_cheapest_order():
    plain, matched = make(), make(identity="matched")
    hat = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(5)).double()
    tokens, first = plain.tokens(features(plain)), torch.zeros(4, dtype=torch.bool)
    a, b = (net.correct(hat, tokens, first).slots for net in (plain, matched))
    cost = [(hat - x).square().sum((1, 2)) for x in (a, b)]
    assert (cost[1] <= cost[0] + 1e-12).all()
    assert_close(a.sum(1), b.sum(1))


def test_bad_identity_is_named():
    config = SlotFilterConfig()
    object.__setattr__(config, "identity", "colour")
    with pytest.raises(ConfigError, match="identity must be 'index' or 'matched', found 'colour'"):
        config.__post_init__()


def test_tokens_add_the_coarse_map():
    fine, both = make(), make(coarse_channels=2)
    both.load_state_dict(fine.state_dict(), strict=False)
    coarse = torch.randn(4, 2, 2, 2).double()
    added = both.embed_coarse(resize_features(coarse, 4, 4).flatten(2).mT)
    gap = (
        both.tokens(features(both), coarse).glimpse_values
        - fine.tokens(features(fine)).glimpse_values
    )
    assert_close(gap, added)
    with pytest.raises(ConfigError, match="needs coarse"):
        both.tokens(features(both))
    with pytest.raises(ConfigError, match="coarse_channels must not be negative"):
        make(coarse_channels=-1)
