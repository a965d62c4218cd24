import pytest
import torch
from torch.nn import functional as F

from aime_agent.layers.transformer import Attention, LatentCrossAttention, SelfAttentionBlock


def plain_read(block, source):
    """The same attention, computed in the usual order."""
    split = lambda x: x.unflatten(-1, (block.num_heads, -1)).transpose(-3, -2)  # noqa: E731
    source = block.source_norm(source)
    query = split(block.to_query(block.query_norm(block.latents))).expand(len(source), -1, -1, -1)
    key, value = split(block.to_key(source)), split(block.to_value(source))
    read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    x = block.latents + block.to_out(read)
    return x + block.mlp(x)


def test_absorbed_queries_equal_plain_attention():
    block = LatentCrossAttention(5, 12, 3).double()
    source = torch.randn(4, 9, 12).double()
    torch.testing.assert_close(block(source), plain_read(block, source))


def test_cross_attention_ignores_the_order_of_its_source():
    block = LatentCrossAttention(5, 12, 3).double()
    source = torch.randn(4, 9, 12).double()
    torch.testing.assert_close(block(source[:, torch.randperm(9)]), block(source))


def test_attention_to_one_element_returns_its_value():
    attention = Attention(8, 2).double()
    source = torch.randn(3, 1, 8).double()
    value = attention.to_key_value(source)[..., 8:]
    read = attention(torch.randn(3, 4, 8).double(), source)
    torch.testing.assert_close(read, attention.to_out(value).expand(3, 4, 8))


@pytest.mark.parametrize(
    "make",
    [lambda **k: SelfAttentionBlock(8, 2, **k), lambda **k: LatentCrossAttention(5, 8, 2, **k)],
)
def test_blocks_train_every_parameter_and_obey_their_keywords(make):
    block, x = make(), torch.randn(3, 5, 8)
    (block(x) * torch.randn(3, 5, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-7 for p in block.parameters())
    sizes = [sum(p.numel() for p in make(widening_factor=w).parameters()) for w in (1, 2)]
    assert sizes[0] < sizes[1]
    dropped = make(dropout=0.5)
    assert not torch.equal(dropped(x), dropped(x))
    assert torch.equal(dropped.eval()(x), dropped(x))
