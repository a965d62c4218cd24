import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from laws import assert_equal, tensors

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.configs import from_dict
from aime_agent.data.saved import Checkpoint, names
from aime_agent.errors import CheckpointError, ConfigError, DataError
from aime_agent.training import checkpoint
from aime_agent.training.config import TrainConfig


def save(run, agent, step=10, **config):
    """Writes a run folder with one checkpoint of ``agent``."""
    folder = run / "checkpoints" / f"step_{step:09d}"
    content = Checkpoint(agent.state_dict(), {}, agent.config_dict() | config, {})
    checkpoint.save(folder, content)
    (run / "config.json").write_text("{}")
    return folder


@pytest.fixture
def run(agent, tmp_path):
    save(tmp_path / "run", agent)
    return tmp_path / "run"


def acted(agent, frames, step=0, **settings):
    state = agent.initial_state(2)
    return agent.act(frames, state, np.ones(2, bool), step, **settings)


def test_the_same_step_gives_the_same_action_another_step_another(agent, frames):
    before = torch.get_rng_state()
    first, again, other = (acted(agent, frames, step) for step in (4, 4, 5))
    assert np.array_equal(first[0], again[0])
    assert_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert torch.equal(before, torch.get_rng_state())
    assert np.abs(first[0]).max() <= 1
    assert first[0].dtype == np.float32


def test_action_noise_acts_in_training_only(agent, frames, with_settings):
    plain = acted(agent, frames)[0], acted(agent, frames, deterministic=True)[0]
    with_settings(agent, action_noise=0.5)
    assert not np.array_equal(acted(agent, frames)[0], plain[0])
    assert np.array_equal(acted(agent, frames, deterministic=True)[0], plain[1])


def test_predict_takes_one_frame_several_or_a_dictionary(agent, frames):
    action, state = agent.predict(frames[0])
    several, states = agent.predict(frames)
    assert action.shape == (2,)
    assert several.shape == (2, 2)
    np.testing.assert_allclose(action, several[0], atol=1e-5)
    assert_equal(tensors(state), [x[:1] for x in tensors(states)], atol=1e-4)
    assert np.array_equal(agent.predict({"pixels": frames[0]})[0], action)


def test_predict_remembers_and_forgets_where_an_episode_starts(agent, frames):
    fresh, state = agent.predict(frames)
    later, _ = agent.predict(frames, state)
    assert not np.array_equal(later, fresh)
    mixed, _ = agent.predict(frames, state, np.array([True, False]))
    np.testing.assert_allclose(mixed[0], fresh[0], atol=1e-6)
    np.testing.assert_allclose(mixed[1], later[1], atol=1e-6)
    assert np.array_equal(agent.predict(frames, None, np.array([True, True]))[0], fresh)


def test_predict_is_deterministic_unless_told_otherwise(agent, frames):
    assert np.array_equal(agent.predict(frames)[0], agent.predict(frames)[0])
    drawn = [agent.predict(frames, deterministic=False)[0] for _ in range(2)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x.astype(np.float32), r"found float32 of shape \[32, 32, 3\]"),
        (lambda x: x[:16, :16], r"found uint8 of shape \[16, 16, 3\]"),
        (lambda x: x.transpose(2, 0, 1), r"found uint8 of shape \[3, 32, 32\]"),
        (lambda x: x[None, None], r"found uint8 of shape \[1, 1, 32, 32, 3\]"),
    ],
)
def test_a_bad_observation_is_named(agent, frames, change, found):
    with pytest.raises(DataError, match=rf"observation: .*required, {found}"):
        agent.predict(change(frames[0]))


def test_agent_is_loaded_from_a_run_and_from_a_checkpoint(agent, run, frames):
    for path in (run, str(names(run)[0])):
        loaded = AimeAgent.from_pretrained(path)
        assert_equal(loaded.state_dict(), agent.state_dict())
        assert loaded.config == agent.config
        assert np.array_equal(loaded.predict(frames)[0], agent.predict(frames)[0])


def test_loading_takes_the_newest_valid_checkpoint(agent, run, batch, caplog):
    agent.update(batch, 2)
    newest = save(run, agent, step=20)
    assert_equal(AimeAgent.from_pretrained(run).state_dict(), agent.state_dict())
    (newest / "agent.safetensors").write_bytes(b"short")
    older = AimeAgent.from_pretrained(run)
    assert older.learner.ema.updates == agent.learner.ema.updates - 1
    assert "agent.safetensors is truncated" in caplog.text
    assert "falling back to the previous checkpoint" in caplog.text


def test_a_foreign_agent_is_refused(agent, run):
    save(run, agent, step=20, kind="OtherAgent")
    with pytest.raises(CheckpointError, match="an AimeAgent required, found 'OtherAgent'"):
        AimeAgent.from_pretrained(run)


def test_a_checkpoint_of_another_action_size_is_one_clear_line(agent, make_agent, tmp_path):
    other = make_agent(action_dim=6)
    message = r"another agent than cartpole-swingup with 2 actions: size mismatch"
    with pytest.raises(CheckpointError, match=message) as caught:
        agent.load_state_dict(other.state_dict())
    assert "\n" not in str(caught.value)
    save(tmp_path, other, **agent.config_dict())
    with pytest.raises(CheckpointError, match=message):
        AimeAgent.from_pretrained(tmp_path)


@pytest.mark.parametrize("missing", ["world_model", "learner", "behaviour"])
def test_incomplete_weights_are_refused(agent, missing):
    state = {k: v for k, v in agent.state_dict().items() if not k.startswith(missing)}
    with pytest.raises(CheckpointError):
        agent.load_state_dict(state)


def test_no_run_and_no_checkpoint_are_told(tmp_path, run):
    with pytest.raises(CheckpointError, match="a run folder or a checkpoint of one required"):
        AimeAgent.from_pretrained(tmp_path)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="found no checkpoint"):
        AimeAgent.from_pretrained(run)


def test_settings_survive_json(agent):
    settings = json.loads(json.dumps(agent.config_dict()))
    assert settings["kind"] == "AimeAgent"
    assert from_dict(AgentSpec, settings["spec"]) == agent.config


def test_created_agent_has_the_runs_settings():
    run = TrainConfig(
        task="humanoid-walk",
        preset="tiny",
        image_size=32,
        action_repeat=4,
        seed=3,
        world_model={"num_slots": 2},
        agent={"horizon": 7, "actor_units": 8},
    )
    agent = AimeAgent.create(run, action_dim=21)
    c = agent.config
    assert (c.task, c.seed, c.image_size, c.action_repeat) == ("humanoid-walk", 3, 32, 4)
    assert (c.world_model.action_dim, c.world_model.num_slots, c.agent.horizon) == (21, 2, 7)
    assert agent.behaviour.discount == pytest.approx((1 - 1 / 333) ** 2)
    assert_equal(AimeAgent.create(run, 21).state_dict(), agent.state_dict())
    other = AimeAgent.create(dataclasses.replace(run, seed=4), 21)
    pairs = zip(agent.world_model.parameters(), other.world_model.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "smal"}, "'small'"),
        ({"world_model": {"hiden_dim": 3}}, "'hidden_dim'"),
        ({"agent": {"horizen": 3}}, "'horizon'"),
    ],
)
def test_unknown_settings_are_answered_with_the_nearest(settings, said):
    with pytest.raises(ConfigError, match=said):
        AimeAgent.create(TrainConfig(task="walker-walk", **({"preset": "tiny"} | settings)), 6)


def test_pictures_are_strips_of_frames(agent, batch):
    strip = agent.images(batch)["real_reconstruction_attention"]
    assert strip.shape == (3 * 32, 6 * 32, 3)
    assert strip.dtype == np.uint8


@pytest.mark.render
def test_environment_is_the_one_it_was_trained_in(agent):
    env = agent.make_env(image_size=32, render_quality="minimal")
    observation, _ = env.reset(seed=0)
    assert observation.shape == (32, 32, 3)
    assert agent.predict(observation)[0].shape == (2,)
    env.close()


def test_belief_of_who_only_acts_is_the_same():
    from aime_agent.world_model import AimeWorldModel, preset

    model = AimeWorldModel(preset("tiny", image_size=32)).eval()
    state, frame = model.initial_state(2), torch.rand(2, 3, 32, 32)
    full, bare = model.infer(state, frame), model.infer(state, frame, attend=False)
    assert bare.attention is None
    assert torch.equal(full.features, bare.features)
    assert torch.equal(
        model.advance(full, torch.ones(2, 6)).hidden, model.advance(bare, torch.ones(2, 6)).hidden
    )
