"""Centred pixels and their likelihood's precision."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.layers.pixel_norm import PixelNorm

PAIR = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
"""Mean 0.4, every pixel ±0.2 around it: Σ x̃² = 4 · 0.04 = 0.16 per frame."""


def fitted(energy):
    norm = PixelNorm(1, 2, 2)
    norm.fit(PAIR, energy)
    return norm


def test_unfitted_norm_has_unit_variance():
    norm, frames = PixelNorm(1, 2, 2), torch.rand(3, 1, 2, 2)
    assert norm.precision == 1
    assert_close(norm.center(frames), frames - 0.5)
    assert_close(norm.encoder_input(frames), 2 * frames - 1)


def test_fit_by_hand():
    norm = fitted(energy=8.0)
    assert_close(norm.mean, torch.full((1, 2, 2), 0.4))
    assert_close(norm.precision, torch.tensor(8.0 / (0.5 * 0.16)))
    assert_close(norm.gain, torch.tensor(0.25 * (4 / 0.16) ** 0.5))
    assert_close(norm.center(PAIR).flatten(1)[:, 0], torch.tensor([-0.2, 0.2]))


def test_fitted_energy_is_what_the_background_alone_costs():
    norm = fitted(energy=8.0)
    squared = norm.center(PAIR).square().flatten(1).sum(1)
    assert_close((0.5 * norm.precision * squared).mean(), torch.tensor(8.0))


def test_encoder_input_has_a_quarter_of_unit_scale():
    assert_close(fitted(8.0).encoder_input(PAIR).square().mean().sqrt(), torch.tensor(0.25))


@pytest.mark.parametrize("energy", [0.0, 0.01])
def test_precision_is_never_below_one(energy):
    assert fitted(energy).precision == 1


def test_still_frames_keep_everything_finite():
    norm, still = PixelNorm(1, 2, 2), torch.full((5, 1, 2, 2), 0.3)
    norm.fit(still, 8.0)
    assert_close(norm.precision, torch.tensor(8.0 / 0.5e-3))
    assert norm.encoder_input(still).isfinite().all()


def test_restore_inverts_center_and_stays_in_range():
    norm, frames = fitted(8.0), torch.rand(3, 1, 2, 2)
    assert_close(norm.restore(norm.center(frames)), frames)
    wild = 9.0 * torch.tensor([1.0, -1.0]).expand(1, 1, 2, 2)
    assert norm.restore(wild).unique().tolist() == [0.0, 1.0]


def test_norm_works_in_float64_and_is_saved():
    norm = fitted(8.0).double()
    assert norm.encoder_input(PAIR.double()).dtype == torch.float64
    assert set(norm.state_dict()) == {"mean", "gain", "precision"}
    assert not list(norm.parameters())
