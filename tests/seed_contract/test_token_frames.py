"""Seed output key ``perceiver_reconstructed_img``: frames decoded from their tokens."""

import torch

from aime_agent.world_model import AimeWorldModel, preset


def test_token_frames_are_frames_of_the_video():
    model = AimeWorldModel(preset("tiny", image_size=32)).eval()
    out = model.forward_sequence(torch.rand(1, 3, 3, 32, 32), torch.zeros(1, 3, 6))
    frames = out["perceiver_reconstructed_img"]
    assert frames.shape == (1, 3, 3, 32, 32)
    decoded = model.perceiver.tokenizer.decode_codes(out.tokens.codes)
    assert torch.equal(frames[0], model.pixels.restore(decoded))
