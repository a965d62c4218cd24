"""Spaces of beliefs: what is observed lies in them, seen or dreamt; wrong kinds are refused."""

import numpy as np
import pytest
import torch
from laws import randomised

from aime_agent.envs.belief_spaces import belief_space, control_space, observe_belief
from aime_agent.errors import ConfigError
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

KINDS = ("belief", "slots", "objects")


@pytest.fixture(scope="module")
def stream():
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=32, action_dim=2))
    model.begin(torch.rand(32, 3, 32, 32))
    return BeliefFilter(randomised(model, 0.3))


@pytest.fixture(scope="module")
def seen(stream):
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    return stream.observe(frames, stream.initial_state(2), np.array([True, True]))


@pytest.fixture(scope="module")
def dreamt(stream, seen):
    state = stream.advance(seen, np.zeros((2, 2), np.float32))
    with torch.no_grad():
        belief = stream.model.imagine(state)
        return stream.model.watch(belief) if belief.slots is None else belief


def rows(observed):
    parts = observed if isinstance(observed, dict) else {"": observed}
    return [{k: v[i] for k, v in parts.items()} for i in range(2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["seen", "dreamt"])
def test_observations_lie_in_their_space(stream, which, kind, request):
    space = belief_space(stream.model.config, kind)
    for row in rows(observe_belief(stream, request.getfixturevalue(which), kind)):
        assert space.contains(row if kind != "belief" else row[""])


def test_places_are_the_centre_of_mass_of_what_a_slot_explains(stream, seen):
    got = observe_belief(stream, seen, "objects")
    side = stream.model.config.attention_resolution
    share = seen.responsibilities[1, 2].view(side, side).double().numpy()
    axis = np.linspace(-1, 1, side)
    x = (share * axis[None, :]).sum() / share.sum()
    y = (share * axis[:, None]).sum() / share.sum()
    np.testing.assert_allclose(got["centers"][1, 4:6], [x, y], atol=1e-5)
    assert got["mass"][1, 2] == pytest.approx(share.mean(), abs=1e-6)
    np.testing.assert_allclose(got["mass"].sum(-1), 1, atol=1e-5)


def test_actions_are_those_of_the_model(stream):
    assert control_space(stream.model.config).shape == (2,)


def test_unknown_kind_and_missing_slots_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'slots'"):
        belief_space(preset("tiny"), "slot")
    plain = preset("tiny", use_slots=False, use_attention=False)
    with pytest.raises(ConfigError, match="use_slots=False"):
        belief_space(plain, "objects")
