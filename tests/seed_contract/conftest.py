"""One pass of a model with the seeds' sizes, shared by the tests that only read it."""

from types import SimpleNamespace

import pytest
import torch

from aime_agent.world_model import DPGMMVariationalRecurrentAutoencoder, preset


@pytest.fixture(scope="session")
def traced():
    """Seed 004, "Forward Pass", at B = 2, T = 4 instead of 8 and 16 (one core)."""
    torch.manual_seed(0)
    model = DPGMMVariationalRecurrentAutoencoder(preset("base"))
    observations, actions = torch.randn(2, 4, 3, 64, 64), torch.randn(2, 4, 6)
    with torch.no_grad():
        outputs = model.forward_sequence(observations, actions)
    return SimpleNamespace(
        model=model, observations=observations, actions=actions, outputs=outputs, B=2, T=4
    )


@pytest.fixture(scope="session")
def tiny():
    """A small model with the same parts; do not change it."""
    torch.manual_seed(0)
    return DPGMMVariationalRecurrentAutoencoder(preset("tiny", image_size=32))
