"""Maps of change: by hand, across episodes, and where nothing happens."""

import torch
from torch.testing import assert_close

from aime_agent.functional.saliency import change_maps


def film():
    """Background 0.5; frame 0: one pixel of cell (0, 0) at 1; frame 1: also one of cell (1, 1)."""
    frames = torch.full((1, 2, 3, 4, 4), 0.5).double()
    frames[:, :, :, 0, 0] = 1.0
    frames[:, 1, :, 3, 2] = 0.0
    return frames, torch.full((3, 4, 4), 0.5).double()


def maps(first=(True, False)):
    frames, background = film()
    return change_maps(frames, background, torch.tensor([first]), 2)[0]


def test_only_what_moves_and_differs_counts():
    assert_close(maps()[0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double())
    assert_close(maps()[1], torch.tensor([[0.0, 0.0], [0.0, 1.0]]).double())


def test_no_change_is_read_across_episodes():
    assert_close(maps(first=(True, True))[1], torch.tensor([[0.5, 0.0], [0.0, 0.5]]).double())


def test_maps_are_uniform_where_nothing_differs_and_sum_to_one():
    background = film()[1]
    still = change_maps(background.expand(1, 3, 3, 4, 4), background, torch.zeros(1, 3).bool(), 2)
    assert_close(still, torch.full((1, 3, 2, 2), 0.25).double())
    noise = torch.rand(2, 3, 3, 8, 8).double()
    found = change_maps(noise, torch.rand(3, 8, 8).double(), torch.zeros(2, 3).bool(), 4)
    assert_close(found.sum((-2, -1)), torch.ones(2, 3).double())
