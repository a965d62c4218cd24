"""Slots, predicted map and decoder in the loop of a world model."""

import torch
from torch import nn
from torch.testing import assert_close

from aime_agent.attention import (
    AttentionPrior,
    AttentionPriorConfig,
    SlotDecoder,
    SlotFilter,
    SlotTokens,
)
from aime_agent.functional import regularizers as reg


def make():
    slots = SlotFilter(
        attention_resolution=8, feature_channels=6, hidden_dim=7, slot_dim=8, slot_mlp_hidden=8
    )
    prior = AttentionPrior(AttentionPriorConfig.compact(7, 3, attention_resolution=8))
    return nn.ModuleDict({"slots": slots, "prior": prior, "decoder": SlotDecoder(slot_dim=8)})


def run(net, batch=2, length=3):
    features = torch.randn(batch * length, 6, 8, 8)
    hidden, z = torch.randn(batch, 7), torch.randn(batch, 3)
    first = torch.zeros(length, batch, dtype=torch.bool)
    first[0] = True
    slot_filter, prior = net["slots"], net["prior"]
    tokens = [x.unflatten(0, (batch, length)).unbind(1) for x in slot_filter.tokens(features)]
    slots, memory = slot_filter.initial_slots(batch), prior.initial_memory(batch)
    attention, steps = prior.initial_attention(batch), []
    for t, frame in enumerate(zip(*tokens, strict=True)):
        slots_hat = slot_filter.transition(slots, hidden)
        seen = slot_filter.correct(slots_hat, SlotTokens(*frame), first[t])
        ahead = prior.predict(attention, memory, hidden, z)
        attention = slot_filter.fuse(seen.log_attention, ahead.log_probs, hidden)
        slots, memory = seen.slots, ahead.memory
        steps.append((slots_hat, seen, ahead, attention))
    return steps


def test_loop_gives_distributions():
    for _, seen, ahead, attention in run(make()):
        for maps in (seen.attention, ahead.log_probs.exp(), attention):
            assert_close(maps.sum((-2, -1)), torch.ones(2))


def test_every_parameter_gets_a_gradient_from_the_losses():
    net, loss = make(), 0
    for slots_hat, seen, ahead, attention in run(net):
        rgb = net["decoder"](seen.slots, torch.rand(9, 2)).rgb
        loss = loss + (rgb - torch.rand(2, 9, 3)).square().sum()
        loss = loss + reg.slot_transition_error(slots_hat, seen.slots).sum()
        loss = loss + reg.balanced_attention_kl(attention, ahead.log_probs).sum()
        loss = loss + reg.movement_huber(ahead.shift, torch.ones(2, 2)).sum()
        loss = loss + reg.slot_diversity(net["slots"].read(seen.responsibilities).maps).sum()
    loss.backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert missing == []


def test_defaults_fit_the_budget():
    prior = AttentionPrior(AttentionPriorConfig.compact(hidden_dim=256, latent_dim=32))
    budget = {SlotFilter(): 45_000, prior: 8_000, SlotDecoder(): 8_000}
    assert all(sum(p.numel() for p in m.parameters()) < most for m, most in budget.items())
