"""Attention of one policy for another: the same maps, and frozen where asked for."""

import pytest
import torch
from laws import assert_equal, randomised

from aime_agent.envs.symbolic import SymbolicDiscoveryEnv
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.query_attention import SingleKeyAttention
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy, policy_for
from aime_agent.policies.tokens import TokenSet
from aime_agent.policies.transfer import PARTS, transfer_attention


def _policy(nodes=4, **settings):
    return EnhancedMetaLearningPolicy(nodes * 8, 5, **({"hidden_dim": 8, "num_attention_heads": 2}
                                                       | settings))  # fmt: skip


def test_the_same_tokens_and_task_give_the_same_map():
    source, target = randomised(_policy()), _policy(nodes=6)
    seen = TokenSet(torch.randn(2, 6, 8), torch.rand(2, 6) > 0.3, torch.randn(2, 8))
    task = torch.randn(2, 8)
    before = target._attend(task, seen).weights
    names = transfer_attention(source, target)
    assert_equal(target._attend(task, seen), source._attend(task, seen))
    assert (before - target._attend(task, seen).weights).abs().max() > 0.01
    assert {name.split(".")[0] for name in names} == {"ask", "queries", "attention", "read"}


def test_with_all_parts_longer_laws_are_looked_at_as_short_ones():
    source, target = randomised(_policy()), _policy(nodes=6)
    transfer_attention(source, target, PARTS)
    nodes = torch.rand(1, 4, 8).round(decimals=1)
    nodes[..., 0], nodes[..., 4] = 1.0, 0.0
    longer = torch.cat([nodes, torch.zeros(1, 2, 8)], dim=1)
    short = source.get_attention_stats(nodes.flatten(1), source.empty_context())
    long = target.get_attention_stats(longer.flatten(1), target.empty_context())
    assert_equal(
        torch.from_numpy(long["attention_weights"][..., :4]),
        torch.from_numpy(short["attention_weights"]), atol=1e-6,
    )  # fmt: skip
    assert not long["attention_weights"][..., 4:].any()


def test_frozen_parts_are_not_adapted():
    target = _policy()
    names = transfer_attention(_policy(), target, freeze=True)
    assert set(names).isdisjoint(target.inner_parameters("all"))
    assert "policy_head.weight" in target.inner_parameters("all")
    target.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to adapt"):
        target.inner_parameters("heads")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"hidden_dim": 16},
            ShapeError,
            r"queries: \[3, 8\] required by the target, found \[3, 16",
        ),
        ({"use_hierarchical_encoding": False}, ShapeError, r"queries: .* found \[1, 8\]"),
        ({"num_attention_heads": 4}, ConfigError, "num_attention_heads=2 required .* with 4"),
        ({"attention": SingleKeyAttention(8, 2)}, ConfigError, "found SingleKeyAttention"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_copied(settings, error, message):
    target = _policy()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(error, match=message):
        transfer_attention(_policy(**settings), target)
    assert_equal(target.state_dict(), before)


def test_unknown_parts_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'attention'"):
        transfer_attention(_policy(), _policy(), ["atention"])


def test_tokenizers_of_another_kind_are_refused():
    law = SymbolicDiscoveryEnv("kepler_orbit")
    other = policy_for(law.observation_space, law.action_space, hidden_dim=8, num_attention_heads=2)
    with pytest.raises(ShapeError, match=r"tokenizer\..*: nothing required by the target"):
        transfer_attention(other, _policy(), ["tokenizer"])
