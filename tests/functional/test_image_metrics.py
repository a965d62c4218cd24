"""PSNR and SSIM against numbers by hand and against scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.testing import assert_close

from aime_agent.functional.image_metrics import masked_psnr, moving_mask, psnr, ssim


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 24, 20, generator=g, dtype=torch.float64)
    return x, (x + 0.2 * torch.randn(x.shape, generator=g, dtype=torch.float64)).clamp(0, 1)


def picture(x):
    return x.permute(1, 2, 0).numpy()


def test_psnr_equals_scikit_image(pair):
    ours = psnr(*pair)
    for n in range(2):
        theirs = peak_signal_noise_ratio(pair[0][n].numpy(), pair[1][n].numpy(), data_range=1.0)
        assert_close(ours[n].item(), float(theirs))


def test_ssim_equals_scikit_image(pair):
    ours = ssim(*pair)
    for n in range(2):
        theirs = structural_similarity(
            *(picture(x[n]) for x in pair),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
        assert_close(ours[n].item(), float(theirs), rtol=1e-9, atol=1e-9)


def test_ssim_of_two_flat_pictures_by_hand():
    x, y = torch.full((1, 12, 12), 0.25), torch.full((1, 12, 12), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert_close(ssim(x.double(), y.double()).item(), expected)


def test_equal_pictures(pair):
    assert_close(ssim(pair[0], pair[0]), torch.ones(2).double())
    assert_close(psnr(pair[0], pair[0]), torch.full((2,), 100.0).double())


def test_masked_psnr_by_hand():
    x, y = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    y[:, 0, 0] = 0.5
    mask = torch.zeros(2, 2, dtype=torch.bool)
    mask[0] = True
    assert_close(masked_psnr(x, y, mask).item(), -10 * math.log10(0.25 / 2), rtol=1e-6, atol=0)
    assert_close(masked_psnr(x, y, torch.ones_like(mask)), psnr(x, y))
    assert masked_psnr(x, y, torch.zeros_like(mask)).isnan()


def test_masked_psnr_ignores_the_background(pair):
    mask = torch.zeros(2, 24, 20, dtype=torch.bool)
    mask[:, :5] = True
    other = pair[1].clone()
    other[..., 5:, :] = 0
    assert_close(masked_psnr(*pair, mask), masked_psnr(pair[0], other, mask))


def test_moving_mask_finds_what_differs_from_the_background():
    background, frames = torch.full((3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.5)
    frames[0, 1, 2, 3], frames[1, :, 0, 0] = 0.65, 0.55
    expected = torch.zeros(2, 4, 4, dtype=torch.bool)
    expected[0, 2, 3] = True
    assert torch.equal(moving_mask(frames, background), expected)


def test_more_noise_is_worse(pair):
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=pair[0].shape))
    for metric in (psnr, ssim):
        scores = [metric(pair[0], pair[0] + s * noise).mean() for s in (0.01, 0.1, 0.5)]
        assert scores == sorted(scores, reverse=True)
