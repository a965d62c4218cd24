import pytest
import torch
from laws import assert_equal

from aime_agent.agents.learner import augmented, sequence_data
from aime_agent.agents.parts import join, part
from aime_agent.agents.presets import agent_preset


def weights(module):
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def movement(before, after):
    return max(float((after[k] - before[k]).detach().abs().max()) for k in before)


def fit(agent, batch, step):
    """One update of the world model alone, with the same noise whatever the step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = sequence_data(agent.world_model, batch, agent.config.agent)
        return agent.learner.update(data, step)


def test_update_moves_every_network(agent, batch):
    before = {k: weights(m) for k, m in agent.behaviour.modules.items()}
    world = {k: v.detach().clone() for k, v in agent.world_model.named_parameters()}
    for step in range(2, 5):
        agent.update(batch, step)
    for name in ("actor", "critic", "slow_critic"):
        now = agent.behaviour.modules[name].state_dict()
        assert not any(torch.equal(now[k], old) for k, old in before[name].items()), name
    still = [k for k, v in agent.world_model.named_parameters() if torch.equal(v, world[k])]
    assert not still


@pytest.mark.parametrize("use_rgb", [False, True])
def test_restored_learner_takes_the_same_next_step(make_agent, batch, use_rgb):
    first, second = (make_agent(world_model={"use_rgb": use_rgb}) for _ in range(2))
    first.begin(batch.observations.flatten(0, 1))
    for step in range(2):
        first.update(batch, step)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    left, right = first.update(batch, 2), second.update(batch, 2)
    assert_equal(left, right)
    assert_equal(first.state_dict(), second.state_dict())


def test_update_depends_on_its_step_and_not_on_the_global_state(make_agent, begun, batch):
    results = []
    for disturbed, step in ((False, 2), (True, 2), (False, 3)):
        agent = make_agent()
        agent.load_state_dict(begun)
        torch.rand(7 if disturbed else 1)
        before = torch.get_rng_state()
        results.append(agent.update(batch, step))
        assert torch.equal(before, torch.get_rng_state())
    assert_equal(results[0], results[1])
    assert results[0]["loss"] != results[2]["loss"]


def test_measured_tasks_sum_up_to_the_total_without_the_adversarial_one(make_agent, batch):
    weights = {"gram": 0.5, "generator": 1.0}
    agent = make_agent(world_model={"control_task": True, "weights": weights})
    agent.begin(batch.observations.flatten(0, 1))
    agent.update_world_model(batch, 0)
    found = agent.measure_world_model(batch)
    tasks = {k.removeprefix("task/"): v for k, v in found.items() if k.startswith("task/")}
    assert set(tasks) == {"elbo", "perceiver", "predictive", "control"}
    assert torch.allclose(sum(tasks.values()), found["total"])
    assert found["loss/gram"] > 0


def test_learning_rate_and_its_warm_up(make_agent, batch):
    moved = {}
    for step in (0, 999):
        agent = make_agent("base")
        agent.begin(batch.observations.flatten(0, 1))
        before = {k: v.detach().clone() for k, v in agent.world_model.named_parameters()}
        fit(agent, batch, step)
        moved[step] = movement(before, dict(agent.world_model.named_parameters()))
    assert moved[999] == pytest.approx(2e-4, rel=0.02)
    assert moved[0] == pytest.approx(2e-7, rel=0.3)


def test_kl_weight_and_temperature_are_annealed(make_agent, begun, batch):
    def losses(step, **schedule):
        agent = make_agent("base", augment="none", schedule=schedule)
        agent.load_state_dict(begun)
        return fit(agent, batch, step)[0]

    cold, half, warm = (losses(s, tau_fraction=0.0) for s in (0, 5_000, 10_000))
    kl = warm.terms["kl_latent"] + 0.1 * warm.terms["hierarchical_kl"]
    torch.testing.assert_close(warm.tasks["elbo"] - cold.tasks["elbo"], kl, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(half.total, (cold.total + warm.total) / 2)
    soft, hard = (losses(s, kl_fraction=0.0) for s in (0, 10_000))
    assert soft.terms["kl_latent"] != hard.terms["kl_latent"]
    torch.testing.assert_close(hard.total, warm.total)


def test_gradients_are_clipped_by_group(make_agent, batch):
    agent = make_agent("base", grad_clip=0.01, slot_grad_clip=0.002)
    agent.begin(batch.observations.flatten(0, 1))
    metrics = fit(agent, batch, 0)[2]
    state = agent.learner.optimizer.state_dict()
    for group, clip in (("model", 0.01), ("slots", 0.002)):
        moments = [v for k, v in state.items() if k.startswith(group) and k.endswith("exp_avg")]
        assert metrics[f"grad_norm/{group}"] > clip
        # The first moment is a tenth of the clipped gradient.
        assert 10 * float(torch.nn.utils.get_total_norm(moments)) == pytest.approx(clip, rel=1e-3)


def test_average_follows_at_its_decay(agent, batch):
    agent.learner.ema.updates = 10_000
    before = {k: v.clone() for k, v in agent.learner.ema.module.named_parameters()}
    agent.update(batch, 2)
    student = dict(agent.world_model.named_parameters())
    expected = {k: 0.995 * v + 0.005 * student[k].detach() for k, v in before.items()}
    now = dict(agent.learner.ema.module.named_parameters())
    assert_equal({k: v.detach() for k, v in now.items()}, expected, rtol=1e-4, atol=1e-7)


def test_average_starts_again_after_the_data_dependent_start(make_agent, batch):
    agent = make_agent()
    agent.begin(batch.observations.flatten(0, 1))
    assert_equal(weights(agent.learner.ema.module), weights(agent.world_model))


@pytest.mark.parametrize("kind", ["zoom", "shift"])
def test_whole_windows_are_changed_with_the_given_probability(kind):
    frames = torch.rand(200, 1, 3, 8, 8).expand(-1, 2, -1, -1, -1)
    out = augmented(frames, agent_preset("base", augment=kind))
    assert torch.equal(out[:, 0], out[:, 1])
    changed = (out != frames).flatten(1).any(1).float().mean()
    assert 0.45 < changed < 0.75
    for share in (0.0, 1.0):
        settings = agent_preset("base", augment=kind, augment_probability=share)
        changed = (augmented(frames, settings) != frames).flatten(1).any(1).float().mean()
        assert abs(changed - share) < 0.03


def test_no_augmentation_is_none():
    frames = torch.rand(3, 2, 3, 8, 8)
    assert augmented(frames, agent_preset("small")) is frames


def test_base_zooms_what_the_model_learns_from(make_agent, batch):
    agent = make_agent("base", augment_probability=1.0)
    data = sequence_data(agent.world_model, batch, agent.config.agent)
    assert not torch.equal(data.observations, batch.observations / 255)
    assert torch.equal(data.actions, batch.actions)


def test_parts_are_joined_and_taken_apart():
    tensors = {"a": torch.ones(1), "b.c": torch.zeros(2)}
    joined = join(ab=tensors, a={"b.x": torch.ones(3)})
    assert sorted(joined) == ["a.b.x", "ab.a", "ab.b.c"]
    assert part(joined, "ab") == tensors


def test_learning_fits_the_batch(make_agent, batch):
    agent = make_agent(learning_rate=3e-3)
    agent.begin(batch.observations.flatten(0, 1))
    losses = [float(fit(agent, batch, 0)[0].total.detach()) for _ in range(12)]
    assert losses[-1] < 0.97 * losses[0]
