"""Every shared law passes on an example and fails on a planted violation."""

import pytest
import torch
from laws import (
    batch_equals_singles,
    every_parameter_gets_gradient,
    is_causal,
    is_deterministic,
    is_permutation_equivariant,
    is_permutation_invariant,
    sums_to_one,
    survives_copying_after_use,
    survives_saving,
    works_in_float64,
)
from torch import nn

from aime_agent.structs import Batch

X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


def broken(law, *args):
    with pytest.raises(AssertionError):
        law(*args)


def test_gradient_law_names_the_parameter_without_gradient():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    every_parameter_gets_gradient(module, lambda m: m(X))
    with pytest.raises(AssertionError, match=r"1\.weight"):
        every_parameter_gets_gradient(module, lambda m: m[0](X))


def test_gradient_law_sees_behind_zero_initialised_weights():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    nn.init.zeros_(module[1].weight)
    every_parameter_gets_gradient(module, lambda m: m(X))
    broken(lambda: every_parameter_gets_gradient(module, lambda m: m(X), randomise=False))


def test_normalisation_law():
    sums_to_one(X.softmax(-1), -1)
    broken(sums_to_one, X.softmax(-1), 1)


def test_permutation_laws():
    is_permutation_equivariant(lambda x: x * 2, X, 1)
    is_permutation_invariant(lambda x: x.sum(1), X, 1)
    broken(is_permutation_equivariant, lambda x: x.cumsum(1), X, 1)
    broken(is_permutation_invariant, lambda x: x[:, 0], X, 1)


def test_determinism_law():
    is_deterministic(lambda: X + 1)
    broken(is_deterministic, lambda: torch.rand(3))


def test_batch_law():
    batch_equals_singles(lambda x: (x, x.sum(1)), X)
    broken(batch_equals_singles, lambda x: x - x.mean(0), X)


def test_causality_law():
    is_causal(lambda x: x.cumsum(1), X, 2)
    broken(is_causal, lambda x: x.flip(1), X, 2)
    broken(is_causal, torch.zeros_like, X, 2)


def test_saving_and_copying_laws():
    survives_saving(nn.Linear(3, 3), nn.Linear(3, 3), lambda m: m(X))
    survives_copying_after_use(nn.Linear(3, 3), lambda m: m(X))
    broken(survives_copying_after_use, nn.Dropout(0.5), lambda m: m(X))


def test_float64_law():
    works_in_float64(nn.Linear(3, 3), lambda m: m(X.double()))
    broken(works_in_float64, nn.Linear(3, 3), lambda m: m(X.double()).float())


def test_fields_are_checked_jointly(assert_fields):
    frames = torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)
    flags = torch.zeros(2, 3, dtype=torch.bool)
    good = Batch(frames, torch.zeros(2, 3, 4), torch.zeros(2, 3), flags, flags)
    assert_fields(good)
    broken(assert_fields, good._replace(rewards=torch.zeros(2, 4)))
    broken(assert_fields, good._replace(actions=flags))
