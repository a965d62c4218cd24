"""Seed 003, attention-based meta-learning: its snippets run as they stand, and its claims are tested.

`SHORTER` makes numbers small and changes nothing else. Only the network snippets of the seed (encoding, focus,
fusion) are no programs: they describe what `encode_task` and `forward` do, and are tested by shapes and numbers.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aime_agent.layers.conditioning import GatingFusion
from aime_agent.layers.query_attention import Attended
from aime_agent.meta import janus
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.meta.families import PhysicsFamily
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy, policy_for
from aime_agent.policies.transfer import PARTS, transfer_attention
from aime_agent.symbolic.distribution import PhysicsTaskDistribution

TESTS = Path(__file__).parents[1]

QUICK_START = """
from janus.ml.networks.attention_meta_policy import EnhancedMetaLearningPolicy
from janus.ml.training.enhanced_meta_trainer import (
    EnhancedMAMLTrainer, 
    EnhancedMetaLearningConfig
)
from janus.physics.data.generators import PhysicsTaskDistribution

# Configure enhanced meta-learning
config = EnhancedMetaLearningConfig(
    # Base MAML parameters
    meta_lr=0.0003,
    adaptation_lr=0.01,
    adaptation_steps=5,
    tasks_per_batch=10,
    
    # Attention-specific parameters
    num_attention_heads=4,
    fusion_type="attention",  # Options: "attention", "gating", "bilinear"
    use_hierarchical_encoding=True,
    
    # Multi-task learning weights
    policy_loss_weight=1.0,
    value_loss_weight=0.5,
    complexity_loss_weight=0.1,
    convergence_loss_weight=0.1,
    attention_entropy_weight=0.01,
    
    # Visualization
    save_attention_maps=True,
    attention_save_interval=100,
    
    # Device
    device="cuda" if torch.cuda.is_available() else "cpu"
)

# Initialize task distribution
task_distribution = PhysicsTaskDistribution(include_noise=True)

# Create and train the enhanced model
trainer = EnhancedMAMLTrainer(config, task_distribution=task_distribution)
trainer.train(n_iterations=1000)
"""  # noqa: W291, W293  (as the seed has it)

CUSTOM_POLICY = """
# Create a custom enhanced policy
policy = EnhancedMetaLearningPolicy(
    observation_dim=128,
    action_dim=50,
    hidden_dim=256,
    num_attention_heads=8,
    fusion_type="attention",
    use_hierarchical_encoding=True
)

# Use with trainer
trainer = EnhancedMAMLTrainer(
    config=config,
    policy=policy,
    task_distribution=task_distribution
)
"""

STATISTICS = """
# Get attention statistics for analysis
obs_tensor = torch.FloatTensor(observations).to(device)
task_context = trainer._prepare_task_context(trajectories)

attention_stats = policy.get_attention_stats(obs_tensor, task_context)
"""

EVOLUTION = """
# Get attention evolution for a specific task
evolution = trainer.attention_analyzer.analyze_attention_evolution("harmonic_oscillator")

# Plot attention entropy over training
import matplotlib.pyplot as plt
plt.plot(evolution['entropy'])
plt.xlabel('Training Step')
plt.ylabel('Attention Entropy')
plt.title('Attention Focus Evolution')
"""

SHORTER = {
    "adaptation_steps=5": "adaptation_steps=1",
    "tasks_per_batch=10": "tasks_per_batch=1, support_episodes=2, query_episodes=2",
    "attention_save_interval=100": "attention_save_interval=1",
    "n_iterations=1000": "n_iterations=1",
}

# What the seed says its parts do, and where that is tested.
CLAIMS = {
    "a larger attention_entropy_weight focuses": (
        "meta/test_trainer.py::test_raising_the_weight_of_attention_entropy_lowers_it",
        "policies/test_meta_policy.py::test_the_weight_of_entropy_focuses_or_spreads",
    ),
    "entropy falls while it learns to focus, and the maps mean something": (
        "policies/test_meta_policy.py::test_attention_finds_the_node_that_the_task_names",
        "policies/test_meta_policy.py::test_deleting_what_is_attended_matters_most",
    ),
    "three fusions, hierarchical or not": (
        "meta/test_seed_003.py::test_fusions_and_encodings_are_meta_trained",
        "layers/test_conditioning.py::test_gate_shares",
        "layers/test_conditioning.py::test_bilinear_is_linear_in_each_and_low_rank",
        "layers/test_conditioning.py::test_attention_is_a_normalised_residual",
    ),
    "more adaptation_steps are more inner updates": (
        "meta/test_trainer.py::test_more_steps_are_more_inner_updates",
    ),
    "maps are saved every attention_save_interval, or never": (
        "meta/test_trainer.py::test_files_have_the_seeds_names",
        "meta/test_trainer.py::test_maps_can_be_left_out",
    ),
    "auxiliary predictions are learned": (
        "meta/test_seed_003.py::test_auxiliary_predictions_are_learned",
    ),
    "the LSTM reads both ways": (
        "policies/test_task_encoder.py::test_both_directions_are_read",
    ),
}  # fmt: skip


@pytest.fixture
def seed(tmp_path, monkeypatch):
    """What the seed's programs begin with: torch, ``janus``, a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    janus.install()
    names = {"torch": torch}
    yield names
    if "trainer" in names:
        names["trainer"].close()
    janus.uninstall()


def _laws(*names):
    known = PhysicsTaskDistribution()
    return known.only([known.get_task_by_name(name) for name in names])


def _run(snippet, names):
    exec(compile(snippet, "seed 003", "exec"), names)


def _shorter(snippet):
    for number, less in SHORTER.items():
        assert snippet.count(number) == 1
        snippet = snippet.replace(number, less)
    return snippet


def test_the_quick_start_runs_and_writes_the_seeds_files(seed):
    _run(_shorter(QUICK_START), seed)
    trainer = seed["trainer"]
    assert trainer.iteration == 1
    (task,) = trainer.task_performance
    maps = sorted(Path("enhanced_meta_logs/attention_maps").iterdir())
    assert [path.name for path in maps] == [f"attention_{task}_1.png"]
    assert Path("enhanced_meta_checkpoints/checkpoint_1").is_dir()
    assert list(Path("enhanced_meta_logs").glob("events*"))


def test_the_quick_starts_settings_are_the_defaults(seed):
    settings, rest = QUICK_START.split("# Initialize task distribution")
    assert "task_distribution" in rest
    _run(settings, seed)
    assert seed["config"] == EnhancedMetaLearningConfig()


def test_the_custom_policy_is_trained_and_its_statistics_are_read(seed):
    untrained = _shorter(QUICK_START).replace("trainer.train(n_iterations=1)", "")
    _run(untrained, seed)
    _run(CUSTOM_POLICY, seed)
    trainer = seed["trainer"]
    assert trainer.policy is seed["policy"]
    assert trainer.meta_train_step()["meta/gradient_norm"] > 0
    task = trainer.task_distribution.get_task_by_name("harmonic_oscillator")
    rollout = trainer.play(task).rollouts[0]
    seed["trajectories"], seed["device"] = [rollout], trainer.config.device
    seed["observations"] = rollout.observations[rollout.valid].numpy()
    _run(STATISTICS, seed)
    assert seed["task_context"].shape[:2] == (1, 2)
    stats, steps = seed["attention_stats"], len(seed["observations"])
    assert stats["attention_weights"].shape == (steps, 8, 3, 16)
    nodes = seed["observations"].reshape(steps, 16, 8)[..., 0].sum(axis=1)
    several = nodes > 1
    assert several.any()
    assert (stats["attention_argmax"] < np.maximum(nodes, 1)).all()
    assert (stats["attention_entropy"][several] > 0).all()
    assert (stats["attention_entropy"] <= np.log(np.maximum(nodes, 1)) + 1e-5).all()
    assert (stats["attention_max"][several] < 1).all()


def test_the_evolution_of_attention_is_plotted(seed, make_trainer):
    seed["trainer"] = make_trainer(_laws("harmonic_oscillator"), tasks_per_batch=1)
    seed["trainer"].train(2)
    _run(EVOLUTION, seed)
    plt = seed["plt"]
    axes = plt.gca()
    assert axes.lines[0].get_ydata().tolist() == seed["evolution"]["entropy"]
    assert len(seed["evolution"]["entropy"]) == 2
    assert axes.get_ylabel() == "Attention Entropy"
    plt.close("all")


@pytest.mark.parametrize("hierarchical", [True, False])
def test_a_task_is_encoded_in_the_shapes_of_the_guide(hierarchical):
    policy = EnhancedMetaLearningPolicy(16, 5, 8, 2, use_hierarchical_encoding=hierarchical)
    found = policy.encode_task(torch.rand(2, 3, 4, 16))
    shapes = {key: tuple(value.shape) for key, value in found.items()}
    local = {"local_features": (2, 3, 4, 8), "global_features": (2, 8)}
    assert shapes == {"task_embedding": (2, 8)} | (local if hierarchical else {})


@pytest.mark.parametrize("fusion_type", ["attention", "gating", "bilinear"])
@pytest.mark.parametrize("hierarchical", [True, False])
def test_fusions_and_encodings_are_meta_trained(make_trainer, fusion_type, hierarchical):
    trainer = make_trainer(fusion_type=fusion_type, use_hierarchical_encoding=hierarchical)
    before = {k: v.clone() for k, v in trainer.policy.named_parameters()}
    trainer.meta_train_step()
    parts = [n for n in before if n.startswith(("fusion", "task_encoder.embed", "attention"))]
    assert all((before[n] != trainer.policy.get_parameter(n)).any() for n in parts)
    assert any("step_score" in n for n in before) == hierarchical


def test_auxiliary_predictions_are_learned(make_trainer):
    laws = _laws("kepler_orbit")
    trainer = make_trainer(
        laws, tasks_per_batch=1, adaptation_steps=0, max_episode_steps=20,
        meta_lr=0.02, policy_loss_weight=0.0, value_loss_weight=0.0,
    )  # fmt: skip
    played = [trainer.play(laws.tasks[0])]
    first, *_, last = (trainer._update(played) for _ in range(30))
    for key in ("meta/complexity_loss", "meta/convergence_loss"):
        assert 0 < last[key] < 0.5 * first[key], key


def _steps(trainer):
    return trainer.meta_train_step()["meta/env_steps"]


def test_fewer_tasks_and_shorter_trajectories_cost_less(make_trainer):
    whole = _steps(make_trainer())
    assert _steps(make_trainer(tasks_per_batch=1)) == whole / 2
    assert _steps(make_trainer(max_episode_steps=2)) == whole / 2


def test_fewer_heads_gating_and_more_steps_are_settings(make_trainer):
    trainer = make_trainer(num_attention_heads=1, fusion_type="gating", adaptation_steps=3)
    assert isinstance(trainer.policy.fusion, GatingFusion)
    experience = trainer.play(trainer.family.sample_task_batch(1)[0])
    assert len(experience.support) == 3
    seen = experience.query.observations[0]
    stats = trainer.policy.get_attention_stats(seen, experience.query.context)
    assert stats["attention_weights"].shape[1] == 1


@pytest.mark.parametrize("claim", CLAIMS)
def test_tests_of_the_claims_exist(claim):
    for name in CLAIMS[claim]:
        path, _, function = name.partition("::")
        text = (TESTS / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), name


class NewestFirst(nn.Module):
    """Attention made for trees: the newest nodes count most, by how much is learned."""

    def __init__(self, dim):
        super().__init__()
        self.nearness = nn.Parameter(torch.tensor(0.5))
        self.value = nn.Linear(dim, dim)

    def forward(self, queries, tokens, mask):
        place = torch.arange(tokens.shape[1], device=tokens.device) - mask.sum(1, keepdim=True)
        scores = (self.nearness * place).masked_fill(~mask, -1e9)
        weights = (torch.softmax(scores, dim=-1) * mask)[:, None, None]
        weights = weights.expand(-1, 1, queries.shape[1], -1)
        return Attended((weights @ self.value(tokens)[:, None])[:, 0], weights, mask)


def test_attention_of_ones_own_is_trained_and_recorded(make_trainer):
    law = _laws("kepler_orbit")
    env = PhysicsFamily(law).make_env()
    policy = policy_for(
        env.observation_space, env.action_space, hidden_dim=8, attention=NewestFirst(8)
    )
    trainer = make_trainer(law, policy, tasks_per_batch=1, max_episode_steps=20)
    trainer.meta_train_step()
    assert policy.attention.nearness.item() != 0.5
    found = trainer.attention_analyzer.analyze_attention_evolution("kepler_orbit")
    assert 0 < found["entropy"][0] < 1


def test_attention_learned_on_simple_laws_stays_frozen_on_harder_ones(make_trainer):
    simple = make_trainer(_laws("kepler_orbit"), tasks_per_batch=1)
    simple.meta_train_step()
    hard = make_trainer(_laws("damped_oscillator"), tasks_per_batch=1, max_episode_steps=20)
    before = hard.policy.policy_head.weight.detach().clone()
    names = transfer_attention(simple.policy, hard.policy, PARTS, freeze=True)
    experience = hard.play(hard.task_distribution.tasks[0])
    hard.meta_train_step()
    for name in names:
        learned = simple.policy.state_dict()[name]
        assert torch.equal(experience.parameters[name], learned), name
        assert torch.equal(hard.policy.state_dict()[name], learned), name
    assert not torch.equal(hard.policy.policy_head.weight, before)
