import pytest
import torch
from scipy.optimize import linear_sum_assignment

from aime_agent.functional.correspondence import (
    match,
    reorder,
    similarity_weights,
    squared_distances,
)


@pytest.mark.parametrize("size", range(1, 9))
def test_matching_equals_scipys(size):
    cost = torch.rand(5, 2, size, size, generator=torch.Generator().manual_seed(size)).double()
    found = match(cost)
    for c, columns in zip(cost.flatten(0, 1), found.flatten(0, 1), strict=True):
        assert columns.tolist() == linear_sum_assignment(c.numpy())[1].tolist()


def test_least_total_beats_the_greedy_choice():
    """Row 0 prefers column 0 by a little, row 1 needs it by much."""
    assert match(torch.tensor([[1.0, 2.0], [1.0, 50.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("size", [3, 7])
def test_shuffled_vectors_are_put_back(size):
    g = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, size, 5, generator=g)
    shuffle = torch.stack([torch.randperm(size, generator=g) for _ in range(4)])
    noisy = reorder(vectors, shuffle) + 0.01 * torch.randn(4, size, 5, generator=g)
    order = match(squared_distances(vectors, noisy))
    torch.testing.assert_close(reorder(noisy, order), vectors, rtol=0, atol=0.1)
    assert torch.equal(shuffle.gather(1, order), torch.arange(size).expand(4, -1))


def test_reorder_passes_gradients_to_the_rows_it_takes():
    values = torch.randn(1, 3, 2, requires_grad=True)
    reorder(values, torch.tensor([[2, 0, 1]]))[:, 0].sum().backward()
    assert values.grad.abs().sum((0, 2)).tolist() == [0.0, 0.0, 2.0]


def test_similarity_by_hand():
    keys = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    found = similarity_weights(torch.tensor([5.0, 0.0]), keys, temperature=0.5)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, -1.0]).div(0.5).softmax(0))


def test_similarity_sharpens_and_flattens_with_the_temperature():
    keys, query = torch.randn(4, 6), torch.randn(6)
    assert similarity_weights(query, keys, 1e-3).max() > 0.99
    torch.testing.assert_close(similarity_weights(query, keys, 1e6), torch.full((4,), 0.25))
