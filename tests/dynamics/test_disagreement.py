"""Heads disagree where they have not seen; their variance and their halves are as written."""

import pytest
import torch
from laws import assert_equal

from aime_agent.dynamics.disagreement import Disagreement, bootstrap_mask
from aime_agent.errors import ConfigError


def make(heads=4):
    torch.manual_seed(0)
    return Disagreement(feature_dim=3, action_dim=2, context_dim=2, heads=heads, units=16)


def test_disagreement_is_the_variance_over_heads_by_hand(monkeypatch):
    told = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]], [[5.0, 6.0]]])
    monkeypatch.setattr(Disagreement, "predict", lambda *_: told)
    assert make(3)(torch.zeros(1, 3), torch.zeros(1, 2)).tolist() == [(4.0 + 12.0) / 2]


def test_each_head_sees_half_and_always_the_same():
    actions = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = bootstrap_mask(actions, 4)
    assert ((seen.float().mean(1) - 0.5).abs() < 0.05).all()
    assert torch.equal(seen[:, 7], bootstrap_mask(actions[7:8], 4)[:, 0])
    together = seen.float() @ seen.float().T / 4000
    assert ((together.fill_diagonal_(0.25) - 0.25).abs() < 0.05).all()


def test_what_was_never_seen_is_doubted_more():
    heads = make()
    adam = torch.optim.Adam(heads.parameters(), 1e-2)
    g = torch.Generator().manual_seed(1)
    features = torch.randn(512, 3, generator=g)
    action = torch.rand(512, 2, generator=g)  # the positive quarter alone
    context = torch.stack([features[:, 0] + action[:, 0], torch.sin(features[:, 1])], -1)
    for _ in range(300):
        loss = heads.loss(features, action, context, torch.ones(512, dtype=torch.bool))
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        known, unknown = heads(features, action).mean(), heads(3 * features, -4 * action).mean()
    assert known < 0.02
    assert unknown > 10 * known


def test_nothing_else_learns_and_ends_of_episodes_are_left_out():
    heads = make()
    features = torch.randn(6, 3, requires_grad=True)
    context = torch.randn(6, 2, requires_grad=True)
    action = torch.rand(6, 2)
    heads.loss(features, action, context, torch.ones(6, dtype=torch.bool)).backward()
    assert features.grad is None
    assert context.grad is None
    nothing = heads.loss(features, action, context, torch.zeros(6, dtype=torch.bool))
    assert nothing == 0


def test_batches_equal_singles():
    heads = make()
    features, action = torch.randn(2, 3, 3), torch.rand(2, 3, 2)
    assert_equal(heads(features, action)[1, 2], heads(features[1, 2:], action[1, 2:])[0], atol=1e-6)


def test_one_head_cannot_disagree():
    with pytest.raises(ConfigError, match="at least 2, found 1"):
        make(1)
