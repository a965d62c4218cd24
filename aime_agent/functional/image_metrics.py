"""How close a predicted picture is: PSNR, PSNR on a mask, SSIM.

    PSNR(x, y)    = −10 log10 mean (x − y)²                         pictures in [0, 1]
    PSNR_m(x, y)  = −10 log10 (Σ m (x − y)² / Σ m)                  m the foreground
    SSIM(x, y)    = mean (2 μx μy + c1)(2 σxy + c2) / ((μx² + μy² + c1)(σx² + σy² + c2))

SSIM (Wang et al., 2004): moments under an 11 × 11 Gaussian of σ 1.5, c1 = 0.01², c2 = 0.03², biased
variances, the mean over windows that lie inside the picture. In control tasks 93 to 98 % of a frame
is background, so the full PSNR says little about the agent: always give the masked one too.

>>> psnr(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)).round(decimals=3)
tensor(20.)
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_LEAST = 1e-10
"""Mean squared error below which PSNR is 100 dB."""


def psnr(x: Float[Tensor, "*b C H W"], y: Float[Tensor, "*b C H W"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio of every picture, in dB; at most 100."""
    return decibels((x - y).square().mean((-3, -2, -1)))


def masked_psnr(
    x: Float[Tensor, "*b C H W"], y: Float[Tensor, "*b C H W"], mask: Bool[Tensor, "*b H W"]
) -> Float[Tensor, "*b"]:
    """PSNR over the pixels of the mask; NaN where it is empty."""
    squared = (x - y).square().mean(-3)
    weight = mask.to(squared.dtype)
    return decibels((squared * weight).sum((-2, -1)) / weight.sum((-2, -1)))


def decibels(mean_squared_error: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """−10 log10 of an error; NaN stays NaN."""
    return -10 * mean_squared_error.clamp(min=_LEAST).log10()


def ssim(x: Float[Tensor, "*b C H W"], y: Float[Tensor, "*b C H W"]) -> Float[Tensor, "*b"]:
    """Structural similarity of every picture, 1 for equal ones; sides from 11 on."""
    lead, (height, width) = x.shape[:-3], x.shape[-2:]
    channels = x.shape[-3]
    a, b = (v.reshape(-1, 1, height, width) for v in (x, y))
    mean_a, mean_b, aa, bb, ab = (_smooth(v) for v in (a, b, a * a, b * b, a * b))
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
    bottom = (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    return (top / bottom).mean((-3, -2, -1)).view(*lead, channels).mean(-1)


def moving_mask(
    frames: Float[Tensor, "*b C H W"], background: Float[Tensor, "C H W"], threshold: float = 0.1
) -> Bool[Tensor, "*b H W"]:
    """Where a frame differs from the background in any channel by more than ``threshold``."""
    return ((frames - background).abs() > threshold).any(-3)


def _smooth(x: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H1 W1"]:
    """Weighted means over all windows inside the picture."""
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
