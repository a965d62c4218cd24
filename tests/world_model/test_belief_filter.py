"""The filter of streams equals the pass over whole sequences, and refuses other frames."""

import numpy as np
import pytest
import torch
from laws import randomised

from aime_agent.configs import override, to_dict
from aime_agent.errors import DataError
from aime_agent.world_model import pretrained
from aime_agent.world_model.belief_filter import LIMIT, BeliefFilter
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset
from aime_agent.world_model.pretrained import model_hash

SIDE, ACTIONS = 32, 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=SIDE, action_dim=ACTIONS))
    model.begin(torch.rand(32, 3, SIDE, SIDE))
    return randomised(model, 0.15).eval()


@pytest.fixture(scope="module")
def film():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 6, SIDE, SIDE, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (2, 6, ACTIONS)).astype(np.float32)
    first = np.zeros((2, 6), bool)
    first[:, 0] = first[1, 3] = True
    return frames, actions, first


def test_streaming_equals_the_whole_sequence_resets_included(model, film):
    frames, actions, first = film
    stream = BeliefFilter(model)
    state, seen = stream.initial_state(2), []
    for t in range(6):
        belief = stream.observe(frames[:, t], state, first[:, t])
        seen.append(stream.features(belief))
        state = stream.advance(belief, actions[:, t])
    with torch.no_grad():
        whole = model.forward_sequence(
            torch.from_numpy(frames).movedim(-1, 2),
            torch.from_numpy(actions),
            torch.from_numpy(first),
        )
    expected = whole.beliefs.features.clamp(-LIMIT, LIMIT)
    np.testing.assert_allclose(np.stack(seen, 1), expected, atol=2e-4)


def test_features_and_slots_are_clipped_rows_of_numbers(model, film):
    stream = BeliefFilter(model)
    belief = stream.observe(film[0][:, 0], stream.initial_state(2), np.array([True, True]))
    huge = belief._replace(z=belief.z + 1e6, slots=belief.slots - 1e6)
    features, slots = stream.features(huge), stream.slots(huge)
    c = model.config
    assert features.shape == (2, c.feature_dim)
    assert features[:, -c.latent_dim :].min() == features.max() == LIMIT
    assert slots.shape == (2, belief.slots[0].numel())
    assert (slots == -LIMIT).all()


def test_a_training_model_is_put_into_eval_and_keeps_no_gradient(model, film):
    model.train()
    stream = BeliefFilter(model)
    first = np.array([True, True])
    beliefs = [stream.observe(film[0][:, 0], stream.initial_state(2), first) for _ in range(2)]
    assert not model.training
    assert not beliefs[0].features.requires_grad
    assert torch.equal(beliefs[0].features, beliefs[1].features)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((SIDE, SIDE, 3)), np.zeros((2, 16, 16, 3), np.uint8), np.zeros((SIDE, 3), np.uint8)],
    ids=["floats", "small", "flat"],
)
def test_other_frames_are_refused(model, frames):
    with pytest.raises(DataError, match=r"uint8 of shape \[32, 32, 3\]"):
        BeliefFilter(model).frames({"pixels": frames})


def test_slots_of_a_model_without_them_are_refused(film):
    plain = AimeWorldModel(
        preset("tiny", image_size=SIDE, action_dim=ACTIONS, use_slots=False, use_attention=False)
    )
    stream = BeliefFilter(plain)
    belief = stream.observe(film[0][:, 0], stream.initial_state(2), np.array([True, True]))
    with pytest.raises(DataError, match="use_slots=False"):
        stream.slots(belief)


def test_the_hash_tells_weights_and_settings_apart(model):
    same = AimeWorldModel(model.config)
    same.load_state_dict(model.state_dict())
    assert model_hash(same) == model_hash(model)
    with torch.no_grad():
        next(same.reward_head.parameters()).view(-1)[0] += 1e-3
    assert model_hash(same) != model_hash(model)
    assert model_hash(same) != model_hash(AimeWorldModel(override(model.config, min_std=0.2)))


def test_a_new_setting_at_its_default_leaves_the_hash_as_it_is(model, monkeypatch):
    before = model_hash(model)
    monkeypatch.setattr(pretrained, "to_dict", lambda config: {**to_dict(config), "new": 0})
    assert model_hash(model) == before
