"""Task queries: by hand, under masks, to the second derivative."""

import math

import pytest
import torch
from laws import assert_equal, every_parameter_gets_gradient
from torch import nn

from aime_agent.errors import ConfigError
from aime_agent.layers.query_attention import (
    SingleKeyAttention,
    TaskQueryAttention,
    attention_entropy,
)

QUERIES = torch.randn(2, 3, 8)
TOKENS = torch.randn(2, 5, 8)
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])


def _plain(cls=TaskQueryAttention, heads=1):
    """Attention whose matrices are the identity."""
    attention = cls(2, heads)
    for part in (attention.to_query, attention.to_key, attention.to_value, attention.to_out):
        nn.init.eye_(part.weight)
    nn.init.zeros_(attention.to_out.bias)
    return attention


def test_weights_and_result_by_hand():
    # Scores are 0 and √2 · log 3 / √2 = log 3, so the weights are 1/4 and 3/4.
    tokens = torch.tensor([[[0.0, 1.0], [math.sqrt(2.0) * math.log(3.0), 0.0]]])
    found = _plain()(torch.tensor([[[1.0, 0.0]]]), tokens, torch.ones(1, 2, dtype=torch.bool))
    assert_equal(found.weights[0, 0, 0], torch.tensor([0.25, 0.75]), atol=1e-6)
    assert_equal(found.features[0, 0], 0.25 * tokens[0, 0] + 0.75 * tokens[0, 1], atol=1e-6)


def test_masked_tokens_have_no_weight_and_no_influence():
    attention = TaskQueryAttention(8, 2)
    found = attention(QUERIES, TOKENS, MASK)
    assert torch.equal(found.weights[1, ..., 2:], torch.zeros(2, 3, 3))
    assert_equal(found.weights.sum(-1), torch.ones(2, 2, 3), atol=1e-6)
    other = TOKENS.clone()
    other[1, 2:] = 99.0
    assert torch.equal(attention(QUERIES, other, MASK).features, found.features)


def test_nothing_to_read_gives_no_weight_and_the_bias():
    attention = TaskQueryAttention(8, 2)
    found = attention(QUERIES, TOKENS, torch.zeros(2, 5, dtype=torch.bool))
    assert found.weights.abs().max() == 0
    assert_equal(found.features, attention.to_out.bias.expand(2, 3, 8))


def test_order_of_tokens_only_orders_weights():
    attention = TaskQueryAttention(8, 2)
    turn = torch.randperm(5)
    one, two = attention(QUERIES, TOKENS, MASK), attention(QUERIES, TOKENS[:, turn], MASK[:, turn])
    assert_equal(one.features, two.features, atol=1e-6)
    assert_equal(one.weights[..., turn], two.weights, atol=1e-6)


def test_a_single_key_ignores_the_query():
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    for query in torch.randn(3, 1, 1, 2):
        found = _plain(SingleKeyAttention)(query, tokens, mask)
        assert_equal(found.features[0, 0], torch.tensor([2.0, 1.0]), atol=1e-6)
        assert found.weights.item() == 1.0


def test_second_derivatives_agree_with_differences():
    attention = TaskQueryAttention(4, 2).double()
    mask = torch.tensor([[True, True, False]])
    inputs = [torch.randn(1, n, 4, dtype=torch.double, requires_grad=True) for n in (2, 3)]

    def read(queries, tokens):
        found = attention(queries, tokens, mask)
        return found.features, attention_entropy(found.weights, mask)

    assert torch.autograd.gradgradcheck(read, inputs)


def test_every_part_learns():
    every_parameter_gets_gradient(
        TaskQueryAttention(8, 2), lambda m: m(QUERIES, TOKENS, MASK).features
    )


def test_entropy_by_hand():
    weights = torch.tensor([[[[0.5, 0.5, 0.0, 0.0]]], [[[1.0, 0.0, 0.0, 0.0]]]])
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    assert_equal(attention_entropy(weights, mask)[:, 0, 0], torch.tensor([0.5, 0.0]), atol=1e-6)
    nats = attention_entropy(weights, mask, normalized=False)[:, 0, 0]
    assert_equal(nats, torch.tensor([math.log(2.0), 0.0]), atol=1e-6)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_must_divide_the_width(heads):
    with pytest.raises(ConfigError, match="must divide 8"):
        TaskQueryAttention(8, heads)
