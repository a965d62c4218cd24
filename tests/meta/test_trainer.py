"""The trainer: learns, records, writes, resumes, and refuses what does not fit."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from laws import assert_equal

from aime_agent.envs.navigation import Navigation2DTask
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.experience import with_novelty
from aime_agent.meta.journal import wandb_is_wanted
from aime_agent.meta.meta_loss import complexity_targets, convergence_targets, meta_losses, weighted
from aime_agent.meta.rollouts import prepare_task_context
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy
from aime_agent.symbolic.distribution import PhysicsTaskDistribution

GOAL = Navigation2DTask((0.3, -0.2))


def _weights(trainer):
    return {k: v.clone() for k, v in trainer.policy.state_dict().items()}


def _moved(before, trainer):
    now = trainer.policy.state_dict()
    return {key for key, value in before.items() if not torch.equal(value, now[key])}


def test_the_meta_policy_itself_changes(make_trainer):
    """In the seed's original every meta-gradient was None."""
    trainer = make_trainer()
    before = _weights(trainer)
    numbers = trainer.meta_train_step()
    assert numbers["meta/gradient_norm"] > 0
    assert {"policy_head.weight", "attention.to_key.weight", "task_encoder.embed.weight"} <= _moved(
        before, trainer
    )
    assert trainer.iteration == 1


def test_playing_leaves_the_policy_alone_and_adapts_a_copy(make_trainer):
    trainer = make_trainer(adaptation_steps=2)
    before = _weights(trainer)
    experience = trainer.play(GOAL)
    assert not _moved(before, trainer)
    assert len(experience.rollouts) == 3
    assert [len(r.infos) for r in experience.rollouts] == [3, 3, 2]
    assert (
        experience.parameters["policy_head.weight"] - before["policy_head.weight"]
    ).abs().sum() > 0


def test_more_steps_are_more_inner_updates(make_trainer):
    start = make_trainer(adaptation_steps=0).play(GOAL, seed=1)
    assert_equal(start.parameters, dict(make_trainer().policy.named_parameters()))
    one, two = (make_trainer(adaptation_steps=k).play(GOAL, seed=1) for k in (1, 2))
    assert_equal(one.rollouts[0].observations, two.rollouts[0].observations)
    assert (one.parameters["policy_head.weight"] - two.parameters["policy_head.weight"]).any()


def test_the_context_is_the_last_episodes_step_by_step(make_trainer):
    trainer = make_trainer()
    first, last = trainer.play(GOAL).rollouts
    assert_equal(first.context, trainer.policy.empty_context())
    assert_equal(last.context, trainer.prepare_task_context(first))
    step = last.context[0, 1, 2]
    wanted = [*first.observations[1, 2], *first.actions[1, 2], first.rewards[1, 2], 0.0, 1.0]
    assert_equal(step, torch.tensor([float(x) for x in wanted]))
    assert last.context[0, :, -1, -2].tolist() == [1.0] * 3
    blind = prepare_task_context(trainer.policy, [first], 2, rewards=False)
    assert blind.shape[1] == 2
    assert not blind[..., -3].any()


def test_a_resumed_run_equals_one_that_never_stopped(make_trainer, tmp_path):
    whole = make_trainer(checkpoint_dir=str(tmp_path / "whole"))
    whole.train(4)
    expected, lines = _weights(whole), (tmp_path / "logs/metrics.jsonl").read_text()
    first = make_trainer()
    first.train(2)
    second = make_trainer()
    assert second.load_checkpoint().name == "checkpoint_2"
    assert second.iteration == 2
    second.train(2)
    assert_equal(_weights(second), expected)
    assert second.task_performance == whole.task_performance
    assert (tmp_path / "logs/metrics.jsonl").read_text() == lines


def test_ctrl_c_keeps_a_checkpoint(make_trainer, monkeypatch):
    import signal

    trainer = make_trainer()
    step = trainer.meta_train_step

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        return step()

    monkeypatch.setattr(trainer, "meta_train_step", interrupted)
    trainer.train(5)
    assert trainer.iteration == 1
    assert make_trainer().load_checkpoint().name == "checkpoint_1"


def test_files_have_the_seeds_names(make_trainer, tmp_path):
    make_trainer(PhysicsTaskDistribution(), attention_save_interval=2).train(2)
    maps = list((tmp_path / "logs/attention_maps").glob("attention_*_2.png"))
    assert maps
    assert not list((tmp_path / "logs/attention_maps").glob("*_1.png"))
    assert list((tmp_path / "logs").glob("events*"))
    assert json.loads((tmp_path / "logs/config.json").read_text())["config"]["meta_lr"] == 0.0003


def test_maps_can_be_left_out(make_trainer, tmp_path):
    make_trainer(save_attention_maps=False).train(2)
    assert not (tmp_path / "logs/attention_maps").exists()


def test_evolution_of_attention_by_alias(make_trainer):
    trainer = make_trainer(PhysicsTaskDistribution())
    task = trainer.task_distribution.get_task_by_name("harmonic_oscillator")
    experience = trainer.play(task)
    for _ in range(2):
        trainer._look(experience)
    found = trainer.attention_analyzer.analyze_attention_evolution("harmonic_oscillator")
    assert len(found["entropy"]) == 2
    assert found["focus_consistency"] == 1.0
    with pytest.raises(ConfigError, match="no attention was recorded for task 'kepler'"):
        trainer.attention_analyzer.analyze_attention_evolution("kepler")


def test_the_seeds_policy_of_sixteen_nodes_meets_laws_that_fit(make_trainer, caplog):
    policy = EnhancedMetaLearningPolicy(hidden_dim=16)
    trainer = make_trainer(PhysicsTaskDistribution(include_noise=True), policy)
    assert "double_pendulum_energy" in caplog.text
    trainer.meta_train_step()
    names = {task.name for task in trainer.family.distribution.tasks}
    assert "harmonic_oscillator_energy" in names
    assert "double_pendulum_energy" not in names


def test_laws_are_found_and_reported(make_trainer):
    known = PhysicsTaskDistribution()
    trainer = make_trainer(
        known.only([known.get_task_by_name("kepler_orbit")]), tasks_per_batch=1, adaptation_steps=0
    )
    experience = trainer.play(trainer.family.distribution.tasks[0])
    laws = [
        {"nrmse": 0.5, "fits": False, "expression": "r"},
        {"nrmse": 0.0, "fits": True, "expression": "G*M/r**2"},
    ]
    found = experience._replace(rollouts=(experience.rollouts[0]._replace(infos=tuple(laws)),))
    numbers = trainer.journal.record(1, [found, experience._replace(rollouts=found.rollouts)], {})
    assert numbers["meta/discovery_success"] == 1.0
    assert numbers["meta/discovery_nrmse"] == 0.25
    assert trainer.discovered_laws == {"kepler_orbit": "G*M/r**2"}


def test_novelty_pays_the_first_of_its_kind_most(make_trainer):
    from collections import Counter

    trainer = make_trainer()
    rollout = (
        trainer.play(GOAL)
        .rollouts[0]
        ._replace(infos=({"tokens": (1,)}, {"tokens": (1,)}, {"tokens": (2,)}))
    )
    earned = with_novelty(rollout, Counter(), trainer.config).rewards - rollout.rewards
    assert earned[:, -1].tolist() == pytest.approx([0.2, 0.2 / np.sqrt(2), 0.2])
    assert not earned[:, :-1].any()
    assert (
        with_novelty(rollout, Counter(), EnhancedMetaLearningConfig(use_intrinsic_rewards=False))
        is rollout
    )


def test_targets_of_the_auxiliary_heads(make_trainer):
    rollout = make_trainer(max_episode_steps=4).play(GOAL).rollouts[-1]
    assert convergence_targets(rollout, 4).reshape(2, 4)[0].tolist() == [0.75, 0.5, 0.25, 0.0]
    laws = rollout._replace(infos=({"complexity": 5}, {}))
    known = complexity_targets(laws, 20).reshape(2, 4)
    assert known[0].tolist() == [0.25] * 4
    assert known[1].isnan().all()
    assert complexity_targets(rollout, None).isnan().all()  # rewards are negative
    paid = rollout._replace(rewards=torch.full((2, 4), 0.5))
    assert complexity_targets(paid, None).tolist() == [0.5] * 8


def test_every_weight_acts(make_trainer):
    trainer = make_trainer()
    rollout = trainer.play(GOAL).rollouts[-1]
    rollout = rollout._replace(rewards=torch.rand(2, 4))
    losses = meta_losses(
        trainer.policy, dict(trainer.policy.named_parameters()), rollout, trainer.config, None
    )
    losses = {name: loss.detach() for name, loss in losses.items()}
    base = weighted(losses, trainer.config)
    for name in ("policy_loss", "value_loss", "complexity_loss", "convergence_loss",
                 "attention_entropy", "policy_entropy"):  # fmt: skip
        key = name.removesuffix("_loss")
        other = EnhancedMetaLearningConfig(**{f"{name}_weight": 7.0})
        change = weighted(losses, other) - base
        old = getattr(trainer.config, f"{name}_weight")
        sign = -1.0 if key == "policy_entropy" else 1.0
        assert float(change) == pytest.approx(
            float(sign * (7.0 - old) * losses[key]), rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize("weight", [30.0, -30.0])
def test_raising_the_weight_of_attention_entropy_lowers_it(make_trainer, weight):
    trainer = make_trainer(attention_entropy_weight=weight, meta_lr=0.01)
    first = trainer.meta_train_step()["meta/attention_entropy_loss"]
    for _ in range(5):
        last = trainer.meta_train_step()["meta/attention_entropy_loss"]
    assert (last - first) * weight < 0


def test_a_policy_that_does_not_fit_is_refused(make_trainer):
    with pytest.raises(ConfigError, match="observation_dim=2, action_dim=2 and continuous=True"):
        make_trainer(policy=EnhancedMetaLearningPolicy(16, 5, 8, 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fusion_type": "atention"}, "Did you mean 'attention'"),
        ({"inner_params": "head"}, "Did you mean 'heads'"),
        ({"adaptation_steps": -1}, "adaptation_steps must be at least 0"),
        ({"meta_lr": 0.0}, "meta_lr must be positive"),
        ({"risk": 0.0}, "risk must lie in"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        EnhancedMetaLearningConfig(**wrong)


def test_missing_and_foreign_checkpoints_are_named(make_trainer):
    trainer = make_trainer()
    with pytest.raises(CheckpointError, match="checkpoint_N required"):
        trainer.load_checkpoint()
    path = trainer.save_checkpoint()
    with pytest.raises(CheckpointError, match="made for another policy"):
        make_trainer(hidden_dim=16).load_checkpoint(path)


def test_wandb_needs_the_package_and_its_variables(monkeypatch):
    config = EnhancedMetaLearningConfig()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(__spec__=object()))
    assert not wandb_is_wanted(config)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_is_wanted(config)
    assert not wandb_is_wanted(EnhancedMetaLearningConfig(use_wandb=False))
