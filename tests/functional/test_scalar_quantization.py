import math

import pytest
import torch

from aime_agent.functional import scalar_quantization as fsq

LEVELS = [(8, 5, 5, 5), (2,), (3, 4), (7, 5, 5, 5, 5)]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_id_survives_codes_and_back(levels):
    ids = torch.arange(math.prod(levels))
    codes = fsq.scalar_codes(ids, levels)
    assert torch.equal(fsq.scalar_ids(codes, levels), ids)
    assert len(codes.unique(dim=0)) == len(ids)


@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_can_be_reached(levels):
    """The inverse of the squashing leads to a point whose code it is."""
    codes = fsq.scalar_codes(torch.arange(math.prod(levels)), levels, torch.float64)
    counts = torch.tensor(levels, dtype=torch.float64)
    half = (counts - 1) * (1 + fsq.MARGIN) / 2
    offset = torch.where(counts % 2 == 0, 0.5, 0.0).double()
    integers = codes * (counts // 2)
    z = torch.atanh((integers + offset) / half) - torch.atanh(offset / half)
    torch.testing.assert_close(fsq.quantise_scalars(z, levels), codes)


def test_one_scalar_by_hand():
    z = torch.tensor([[-50.0], [0.0], [0.6], [50.0]])
    # five levels: round(2 tanh z) / 2;  tanh 0.6 = 0.537
    assert fsq.quantise_scalars(z, (5,)).flatten().tolist() == [-1.0, 0.0, 0.5, 1.0]
    # four levels: integers −2 … 1 over 2, and 0 is reached at 0
    assert fsq.quantise_scalars(z, (4,)).flatten().tolist() == [-1.0, 0.0, 0.5, 0.5]


def test_gradient_is_that_of_the_bounded_scalar():
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    (copied,) = torch.autograd.grad(fsq.quantise_scalars(z, (8, 5, 5)).sum(), z)
    width = torch.tensor([4.0, 2.0, 2.0], dtype=torch.float64)
    (smooth,) = torch.autograd.grad((fsq.bound_scalars(z, (8, 5, 5)) / width).sum(), z)
    torch.testing.assert_close(copied, smooth)
    assert (copied > 0).all()


def test_levels_of_gaussian_scalars_are_all_in_use():
    ids = fsq.scalar_ids(fsq.quantise_scalars(torch.randn(200_000, 4), (8, 5, 5, 5)), (8, 5, 5, 5))
    assert len(ids.unique()) == 1000
