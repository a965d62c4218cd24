"""Discriminators beside the world model: schedule, optimiser, memory, and what they cost when off."""

import pytest
import torch
from laws import assert_equal

from aime_agent.agents.adversary import Adversary
from aime_agent.errors import CheckpointError, ConfigError

ON = {"weights": {"generator": 0.1, "feature_matching": 0.1}}
NOW = {"schedule": {"adversarial_fraction": 0.0}}


def weights(module):
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


@pytest.fixture
def begin(make_agent, batch):
    """Returns a function that makes an agent with the task on, after its data-dependent start."""

    def make(world_model=ON, **settings):
        agent = make_agent(world_model=world_model, **settings)
        agent.begin(batch.observations.flatten(0, 1))
        return agent

    return make


def disc_steps_taken(agent):
    state = agent.learner.adversary.state_dict()
    key = "optimizer.discriminators.0.step"
    return int(state[key]) if key in state else 0


def test_update_moves_discriminators_and_leaves_no_gradient(begin, batch):
    agent = begin(**NOW)
    judges = agent.learner.adversary.discriminators
    before = weights(judges)
    metrics = agent.update(batch, 0)
    agent.update(batch, 1)
    still = {k for k, v in judges.named_parameters() if torch.equal(v, before[k])}
    # Inside the hinge's margins the slopes of real and made logits cancel for a common shift.
    assert still <= {"image.to_logit.bias"}
    assert not judges.training
    assert all(p.grad is None for p in judges.parameters())
    wanted = {"disc_loss", "warmup", "generator", "feature_matching", "scale_generator"}
    wanted |= {f"{d}_{kind}_logit" for d in ("image", "temporal") for kind in ("real", "fake")}
    assert {f"adversarial/{name}" for name in wanted} <= set(metrics)
    assert {"loss/generator", "loss/feature_matching", "grad_norm/discriminators"} <= set(metrics)
    assert all(torch.isfinite(v).all() for v in metrics.values())


def test_off_means_off(make_agent, batch):
    agent = make_agent()
    agent.begin(batch.observations.flatten(0, 1))
    metrics = agent.update(batch, 0)
    assert agent.learner.adversary is None
    assert not any("adversar" in k or "discrim" in k for k in {*metrics, *agent.state_dict()})


def test_first_update_of_a_warm_up_is_the_update_without_the_task(begin, make_agent, batch):
    """The factor is 0 there, and discriminators draw from no stream that others read."""
    plain = make_agent()
    plain.begin(batch.observations.flatten(0, 1))
    agent = begin()
    plain.update(batch, 0)
    agent.update(batch, 0)
    assert disc_steps_taken(agent) == 1
    assert_equal(weights(agent.world_model), weights(plain.world_model))
    plain.update(batch, 1)
    agent.update(batch, 1)
    heads = [a.world_model.decoder.head.to_patches.weight for a in (agent, plain)]
    assert not torch.equal(*heads)


@pytest.mark.parametrize(
    ("schedule", "taken"),
    [
        ({}, [1, 2, 3, 4]),
        ({"disc_every": 2}, [1, 1, 2, 2]),
        ({"disc_steps": 3}, [3, 6, 9, 12]),
        ({"disc_every": 3, "disc_steps": 2}, [2, 2, 2, 4]),
        ({"disc_steps": 0}, [0, 0, 0, 0]),
        ({"adversarial_start": 0.5, "total_steps": 4}, [0, 0, 1, 2]),
    ],
)
def test_discriminators_step_when_the_schedule_says_so(begin, batch, schedule, taken):
    agent = begin(schedule=schedule)
    found = []
    for step in range(4):
        agent.update(batch, step)
        found.append(disc_steps_taken(agent))
    assert found == taken


def test_generator_waits_for_the_start_and_then_warms_up(begin, batch):
    schedule = {"adversarial_start": 0.25, "adversarial_fraction": 0.5, "total_steps": 8}
    agent = begin(schedule=schedule)
    warm, present = [], []
    for step in range(8):
        metrics = agent.update(batch, step)
        warm.append(float(metrics["adversarial/warmup"]))
        present.append("loss/generator" in metrics)
    assert warm == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert present == [w > 0 for w in warm]


def test_warm_up_weighs_the_task_in_the_balancer(begin):
    agent = begin(schedule={"adversarial_fraction": 0.5, "total_steps": 8})
    assert agent.learner.adversary.task_weights(1, 4) == [1, 1, 1, 0.25]
    assert agent.learner.adversary.task_weights(9, 5) == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("use_rgb", [False, True])
def test_task_has_the_warm_ups_weight_under_every_balancer(begin, batch, use_rgb, monkeypatch):
    agent = begin(
        {**ON, "use_rgb": use_rgb}, schedule={"adversarial_fraction": 0.5, "total_steps": 8}
    )
    seen = []
    true = agent.learner.balancer.backward

    def spy(losses, task_weights=None):
        seen.append((losses[3] is not None, task_weights))
        return true(losses, task_weights)

    monkeypatch.setattr(agent.learner.balancer, "backward", spy)
    for step in (0, 1, 6):
        agent.update(batch, step)
    assert seen == [(False, [1, 1, 1, 0.0]), (True, [1, 1, 1, 0.25]), (True, [1, 1, 1, 1.0])]


def test_optimiser_settings_act(begin, batch):
    found = []
    for settings in ({}, {"disc_learning_rate": 1e-2}, {"disc_grad_clip": 1e-9}):
        agent = begin(**NOW, **settings)
        start = weights(agent.learner.adversary.discriminators)
        agent.update(batch, 0)
        now = weights(agent.learner.adversary.discriminators)
        name = "image.layers.0.bias"
        found.append(float((now[name] - start[name]).abs().max()))
    assert found[0] == pytest.approx(2e-4, rel=0.01)
    assert found[1] == pytest.approx(1e-2, rel=0.01)
    assert found[2] < found[0]
    for name in ("disc_learning_rate", "disc_grad_clip"):
        with pytest.raises(ConfigError, match=f"{name} must be positive"):
            begin(**{name: 0.0})


@pytest.mark.parametrize("use_rgb", [False, True])
def test_restored_learner_takes_the_same_next_step(make_agent, batch, use_rgb):
    world = {"use_rgb": use_rgb, "weights": {**ON["weights"], "gram": 0.05}}
    first, second = (make_agent(world_model=world, **NOW) for _ in range(2))
    first.begin(batch.observations.flatten(0, 1))
    for step in range(2):
        first.update(batch, step)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    left, right = first.update(batch, 2), second.update(batch, 2)
    assert left.keys() == right.keys()
    assert_equal(left, right)
    assert_equal(first.state_dict(), second.state_dict())


def test_checkpoint_without_discriminators_is_refused(begin, begun):
    with pytest.raises(CheckpointError, match=r"image\.layers"):
        begin().load_state_dict(begun)


def test_discriminators_start_alike_for_one_seed(make_agent):
    first, second = (make_agent(world_model=ON) for _ in range(2))
    assert_equal(first.learner.adversary.state_dict(), second.learner.adversary.state_dict())


def test_feature_matching_falls_against_fixed_discriminators(begin, batch):
    agent = begin(learning_rate=3e-3, schedule={"adversarial_fraction": 0.0, "disc_steps": 0})
    found = [float(agent.update(batch, 0)["adversarial/feature_matching"]) for _ in range(15)]
    assert found[-1] < 0.95 * found[0]


# ------------------------------------------------------------------ Gram loss


def test_teacher_follows_by_averaging_alone(make_agent, batch):
    agent = make_agent(world_model={"weights": {"gram": 5.0}})
    agent.begin(batch.observations.flatten(0, 1))
    average = agent.learner.ema
    for step in range(3):
        before, decay = weights(average.module), average.decay
        metrics = agent.update(batch, step)
        student = dict(agent.world_model.named_parameters())
        now = dict(average.module.named_parameters())
        expected = {k: torch.lerp(before[k], student[k].detach(), 1 - decay) for k in now}
        assert_equal({k: v.detach() for k, v in now.items()}, expected, rtol=1e-6, atol=1e-9)
        assert all(p.grad is None for p in now.values())
        assert (metrics["loss/gram"] > 0) == (step > 0)


def test_gram_weight_changes_what_is_learned(make_agent, batch):
    found = []
    for weight in (0.0, 50.0):
        agent = make_agent(world_model={"weights": {"gram": weight}})
        agent.begin(batch.observations.flatten(0, 1))
        for step in range(3):
            metrics = agent.update(batch, step)
        found.append(agent.world_model.trunk.to_mid.weight.detach())
        assert ("loss/gram" in metrics) == (weight > 0)
    assert not torch.equal(*found)


def test_adversary_is_made_from_the_models_discriminators(begin):
    agent = begin()
    adversary = agent.learner.adversary
    assert isinstance(adversary, Adversary)
    assert adversary.judges(0) is None
    assert adversary.judges(10) is adversary.discriminators
