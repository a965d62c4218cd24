"""What is kept to go on with: weights, moments, replay and counters, and nothing to unpickle."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import configure

from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.training.interrupts import Wish
from aime_agent.training.sb3_resume import STATE, Keeper, load_state, save_state

TASK = "Pendulum-v1"
KINDS = {PPO: {"n_steps": 16}, SAC: {"learning_starts": 8, "buffer_size": 100}}


def model_of(kind, **changes):
    small = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "batch_size": 8}
    model = kind("MlpPolicy", TASK, **small | KINDS[kind] | changes)
    model.set_logger(configure(None, []))
    return model


def learnt(kind, folder, steps=48, every=1_000, **changes):
    model = model_of(kind, **changes)
    model.learn(steps, Keeper(folder, every, Wish()))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_update_is_that_of_a_run_that_never_stopped(kind, tmp_path):
    one, other = learnt(kind, tmp_path), model_of(kind, seed=1)
    assert load_state(other, tmp_path, seed=0) == one.num_timesteps == 48
    assert other._n_updates == one._n_updates > 0
    if kind is PPO:
        other.rollout_buffer = one.rollout_buffer
        other._current_progress_remaining = one._current_progress_remaining
    for model in (one, other):
        np.random.seed(0)  # noqa: NPY002  (Stable-Baselines3 draws its batches from it)
        torch.manual_seed(0)
        model.train(*([] if kind is PPO else [3, 8]))
    for name, value in one.policy.state_dict().items():
        torch.testing.assert_close(other.policy.state_dict()[name], value, rtol=0, atol=0)


def test_replay_comes_back_after_it_has_gone_round(tmp_path):
    one = learnt(SAC, tmp_path, every=5, buffer_size=16)
    other = model_of(SAC, buffer_size=16)
    load_state(other, tmp_path, seed=0)
    assert (other.replay_buffer.pos, other.replay_buffer.full) == (48 % 16, True)
    for name in ("observations", "next_observations", "actions", "rewards", "dones"):
        found, wanted = (getattr(m.replay_buffer, name) for m in (other, one))
        np.testing.assert_array_equal(found, wanted)
    files = sorted(f.name for f in tmp_path.iterdir())
    assert all(f == STATE or f.endswith(".safetensors") for f in files)
    assert sum(f.startswith("rows") for f in files) == 4


def test_a_signal_keeps_what_was_before_the_rollout(tmp_path):
    wish = Wish()

    class Asks(Keeper):
        def _on_step(self):
            if self.num_timesteps == 20:
                wish.express()
            return super()._on_step()

    model = model_of(PPO)
    model.learn(48, Asks(tmp_path, 1_000, wish))
    assert model.num_timesteps == 20
    assert load_state(model_of(PPO), tmp_path, seed=0) == 16


def test_nothing_kept_begins_anew_and_damage_is_told(tmp_path):
    model = learnt(SAC, tmp_path / "kept", steps=10)
    assert load_state(model, tmp_path / "nothing", seed=0) == 0
    with pytest.raises(CheckpointError, match="format 1 of PPO required, found 1 of SAC"):
        load_state(model_of(PPO), tmp_path / "kept", seed=0)
    for file in (tmp_path / "kept").glob("weights*"):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        load_state(model, tmp_path / "kept", seed=0)


def test_a_replay_that_shares_rows_is_refused(tmp_path):
    kwargs = {"handle_timeout_termination": False}
    with pytest.raises(ConfigError, match="leave it out"):
        learnt(SAC, tmp_path, optimize_memory_usage=True, replay_buffer_kwargs=kwargs)


def test_an_unfinished_state_leaves_the_one_before(tmp_path, monkeypatch):
    model = learnt(SAC, tmp_path, steps=20)
    monkeypatch.setattr("aime_agent.training.sb3_resume.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_state(model, tmp_path, 20)
    assert load_state(model_of(SAC), tmp_path, seed=0) == 20
