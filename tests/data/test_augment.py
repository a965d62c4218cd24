"""Zoom and shift: identities, the same box for all frames, pixels by hand."""

import pytest
import torch
from jaxtyping import TypeCheckError

from aime_agent.data.augment import RandomShift, ZoomCrop, ZoomCropConfig, zoom_box
from aime_agent.errors import ConfigError, ShapeError


def ramp_image(size=32):
    """A frame whose pixel value is its x coordinate in [-1, 1]."""
    x = (torch.arange(size) + 0.5) / size * 2 - 1
    return x.double().expand(1, 1, 1, size, size)


def uniforms(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_zoom_is_off_above_its_probability():
    frames = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(ZoomCrop(probability=0.5)(frames, torch.tensor([[0.5, 0, 0, 0, 0]])), frames)


def test_zoom_shows_the_box_it_chose():
    u = uniforms(0.0, 0.3, 0.7, 0.2, 0.9)
    side, center = zoom_box(ZoomCropConfig(), u)
    out = ZoomCrop()(ramp_image(), u)
    interior = out[0, 0, 0, 16, 2:-2]
    expected = (center[0, 0] + side[0, 0] * ramp_image()[0, 0, 0, 0])[2:-2]
    torch.testing.assert_close(interior, expected)


def test_zoom_keeps_the_area_and_puts_the_subject_toward_a_corner():
    u = torch.rand(500, 5, dtype=torch.float64)
    side, center = zoom_box(ZoomCropConfig(), u)
    assert (side**2 >= 0.6).all()
    assert (side**2 <= 0.85).all()
    assert (center.abs() <= 1 - side + 1e-12).all()
    place = -center / side
    assert ((place > 0) == (u[:, 3:5] >= 0.5)).all()


def test_zoom_follows_the_subject():
    u = uniforms(0.0, 0.0, 0.0, 0.9, 0.9)
    subject = torch.tensor([[0.5, 0.6]], dtype=torch.float64)
    side, center = zoom_box(ZoomCropConfig(), u, subject)
    torch.testing.assert_close((subject - center) / side, torch.full((1, 2), 0.7).double())
    frames = torch.rand(1, 1, 1, 8, 8).double()
    assert not torch.equal(ZoomCrop()(frames, u, subject), ZoomCrop()(frames, u))


def test_all_frames_of_a_sequence_get_the_same_box():
    frame = torch.rand(2, 1, 3, 8, 8)
    out = ZoomCrop(probability=1.0)(frame.expand(2, 5, 3, 8, 8), torch.rand(2, 5))
    assert torch.equal(out, out[:, :1].expand_as(out))


def test_zoom_of_uint8_stays_uint8_on_permuted_views():
    frames = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    out = ZoomCrop(probability=1.0)(frames, torch.rand(2, 5))
    assert out.dtype == torch.uint8
    exact = ZoomCrop(probability=0.0)(frames, torch.rand(2, 5))
    assert torch.equal(exact, frames)


@pytest.mark.parametrize(
    "changed", [{"probability": 0.0}, {"area": (0.3, 0.4)}, {"placement": (0.1, 0.2)}]
)
def test_every_zoom_setting_acts(changed):
    frames, u = torch.rand(1, 1, 1, 8, 8), torch.tensor([[0.1, 0.5, 0.5, 0.0, 0.9]])
    assert not torch.equal(ZoomCrop()(frames, u), ZoomCrop(**changed)(frames, u))


def test_shift_moves_pixels_and_repeats_the_border():
    frames = torch.arange(9).view(1, 1, 1, 3, 3).expand(1, 2, 1, 3, 3)
    out = RandomShift(pad=1)(frames, torch.tensor([[0.99, 0.0]]))
    expected = torch.tensor([[3, 3, 4], [6, 6, 7], [6, 6, 7]])
    assert torch.equal(out, expected.expand(1, 2, 1, 3, 3))


def test_shift_covers_all_places_and_pad_zero_is_identity():
    frames = torch.arange(5).view(1, 1, 1, 1, 5).expand(5, 1, 1, 1, 5)
    u = torch.stack([torch.zeros(5), torch.arange(5) / 5 + 0.01], dim=-1)
    assert RandomShift(pad=2)(frames, u)[:, 0, 0, 0, 2].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(RandomShift(pad=0)(frames, u), frames)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ZoomCrop(probability=2.0), "probability"),
        (lambda: ZoomCrop(area=(0.9, 0.5)), "area"),
        (lambda: ZoomCrop(placement=(0.0, 0.5)), "placement"),
        (lambda: RandomShift(pad=-1), "pad"),
    ],
)
def test_bad_setting_is_named(build, text):
    with pytest.raises(ConfigError, match=text):
        build()


def test_wrong_batch_of_uniforms_is_named():
    with pytest.raises((ShapeError, TypeCheckError), match="uniforms"):
        RandomShift()(torch.rand(3, 1, 1, 4, 4), torch.rand(2, 2))
