import torch

from aime_agent.perception.frame_encoder import FramePerceiver, PerceiverSizes


def build(num_latents=3, num_layers=1, sizes=PerceiverSizes(8, 2)):  # noqa: B008
    return FramePerceiver(5, (2, 3), num_latents, num_layers, sizes)


def test_frames_are_independent():
    encoder, codes = build().double(), torch.randn(4, 5, 2, 3).double()
    torch.testing.assert_close(encoder(codes)[1:2], encoder(codes[1:2]))


def test_position_of_a_code_matters():
    encoder, codes = build().double(), torch.randn(1, 5, 2, 3).double()
    assert not torch.allclose(encoder(codes.flip(-1)), encoder(codes))


def test_every_parameter_gets_a_gradient_also_without_self_attention():
    for num_layers in (0, 2):
        encoder = build(num_layers=num_layers)
        (encoder(torch.randn(4, 5, 2, 3)) * torch.randn(4, 8)).sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_sizes_act():
    count = lambda **k: sum(p.numel() for p in build(**k).parameters())  # noqa: E731
    sizes = [
        count(),
        count(num_latents=4),
        count(num_layers=2),
        count(sizes=PerceiverSizes(8, 2, 2)),
    ]
    assert len(set(sizes)) == 4
