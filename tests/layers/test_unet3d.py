import pytest
import torch

from aime_agent.layers.unet3d import FrameConv, FrameDecoder, FrameEncoder, FrameNorm


def seen_frames(module, num_frames, out_frame):
    """Input frames that output frame ``out_frame`` depends on."""
    video = torch.randn(1, num_frames, 3, 16, 16, dtype=torch.double, requires_grad=True)
    module.double()(video)[0, out_frame].square().sum().backward()
    return video.grad[0].abs().sum((1, 2, 3)).nonzero().flatten().tolist()


def test_temporal_convolution_sees_itself_and_two_frames_before():
    assert seen_frames(FrameConv(3, 4, temporal=True), 6, 4) == [2, 3, 4]
    assert seen_frames(FrameConv(3, 4), 6, 4) == [4]


def test_norm_sees_one_frame():
    assert seen_frames(FrameNorm(3), 4, 2) == [2]


def test_time_stride_two_sees_nothing_after_twice_its_index():
    encoder = FrameEncoder(3, 4, 4, 1, temporal=True, temporal_downsample=True)
    assert max(seen_frames(encoder, 7, 2)) == 4


@pytest.mark.parametrize("temporal", [False, True])
def test_encoder_and_decoder_invert_odd_sizes(temporal):
    encoder = FrameEncoder(3, 5, 4, 3, temporal)
    decoder = FrameDecoder(5, 3, 4, ((21, 11), (42, 22), (84, 44)), temporal)
    features = encoder(torch.randn(1, 2, 3, 84, 44))
    assert features.shape == (1, 2, 5, 10, 5)
    assert decoder(features).shape == (1, 2, 3, 84, 44)


@pytest.mark.parametrize("temporal", [False, True])
def test_encoder_and_decoder_train_every_parameter(temporal):
    model = torch.nn.Sequential(
        FrameEncoder(3, 5, 8, 2, temporal), FrameDecoder(5, 3, 8, ((8, 8), (16, 16)), temporal)
    )
    (model(torch.randn(2, 3, 3, 16, 16)) * torch.randn(2, 3, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
