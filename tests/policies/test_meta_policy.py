"""The meta-policy: its signature, and that its attention means something."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from laws import assert_equal, every_parameter_gets_gradient, randomised
from torch.nn import functional as F

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.layers.conditioning import FUSIONS
from aime_agent.layers.query_attention import SingleKeyAttention, attention_entropy
from aime_agent.policies.meta_policy import EnhancedMetaLearningPolicy, policy_for

NODES, ACTIONS = 6, 5


def _policy(**settings):
    torch.manual_seed(0)
    return EnhancedMetaLearningPolicy(NODES * 8, ACTIONS, 16, 2, **settings)


def _trees(batch=4, count=NODES):
    """Flat trees whose nodes are all there, with random kinds."""
    nodes = torch.zeros(batch, NODES, 8)
    nodes[:, :count, 0] = 1.0
    nodes[:, :count, 7] = torch.rand(batch, count)
    return nodes.flatten(1)


def _context(policy, tasks=1, trajectories=2, steps=3):
    context = torch.rand(tasks, trajectories, steps, policy.context_dim)
    context[..., -1] = 1.0
    return context


def test_the_seeds_numbers_are_the_defaults():
    policy = EnhancedMetaLearningPolicy()
    assert (policy.observation_dim, policy.action_dim, policy.hidden_dim) == (128, 50, 256)
    out = policy(torch.rand(2, 128), torch.rand(2, 3, 4, 128), return_attention=True)
    assert out["policy_logits"].shape == (2, 50)
    assert out["attention_weights"].shape == (2, 8, 3, 16)
    assert out["auxiliary_outputs"]["predicted_complexity"].shape == (2,)
    assert policy.encode_task(torch.rand(2, 3, 4, 128))["local_features"].shape == (2, 3, 4, 256)


@pytest.mark.parametrize("fusion_type", FUSIONS)
@pytest.mark.parametrize("hierarchical", [True, False])
def test_every_part_learns(fusion_type, hierarchical):
    policy = _policy(fusion_type=fusion_type, use_hierarchical_encoding=hierarchical)
    context = torch.cat([_context(policy, 3), torch.zeros(1, 2, 3, policy.context_dim)])

    def call(m):
        out = m(_trees(), context)
        return out["policy_logits"], out["value"], out["auxiliary_outputs"]

    every_parameter_gets_gradient(policy, call)
    assert ("local_features" in policy.encode_task(context)) == hierarchical


def test_the_task_decides_where_to_look_and_what_to_do():
    policy, trees = randomised(_policy()), _trees()
    one, two = (policy(trees, _context(policy), return_attention=True) for _ in range(2))
    assert (one["attention_weights"] - two["attention_weights"]).abs().max() > 1e-4
    assert (one["policy_logits"] - two["policy_logits"]).abs().max() > 1e-4


def test_one_context_serves_a_batch_as_copies_would():
    policy, trees = _policy(), _trees()
    context = _context(policy)
    one, many = policy(trees, context), policy(trees, context.expand(4, -1, -1, -1))
    assert_equal(one["policy_logits"], many["policy_logits"], atol=1e-6)


def test_actions_of_a_mask_are_the_only_ones_and_losses_know_it():
    policy, tree = randomised(_policy()), _trees(1)
    context = policy.empty_context()
    mask = np.array([0, 1, 0, 1], np.int8)  # the fifth action does not exist there
    actions = {policy.act(tree[0], context, mask)[0] for _ in range(50)}
    assert actions <= {1, 3}
    logits = policy(tree, context)["policy_logits"].detach()
    chances = policy.distribution(logits, policy.padded_mask(mask)).probs[0]
    assert_equal(chances[[1, 3]], torch.softmax(logits[0, [1, 3]], 0), atol=1e-6)
    action, info = policy.act(tree[0], context, mask, deterministic=True)
    assert info["log_prob"] == pytest.approx(float(chances[action].log()), abs=1e-5)


def test_statistics_of_attention():
    policy = randomised(_policy())
    stats = policy.get_attention_stats(_trees(3, count=1), policy.empty_context())
    assert stats["attention_entropy"] == pytest.approx(np.zeros(3), abs=1e-5)
    assert stats["attention_max"] == pytest.approx(np.ones(3), abs=1e-5)
    assert (stats["attention_argmax"] == 0).all()


def test_gaussian_actions_for_a_box():
    policy = policy_for(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), hidden_dim=16)
    context = policy.empty_context()
    action, info = policy.act(np.zeros(3, np.float32), context)
    mean = policy(torch.zeros(1, 3), context)["policy_logits"]
    wanted = -0.5 * (((action - mean[0].detach().numpy()) / np.exp(-0.5)) ** 2).sum()
    wanted += 2 * (0.5 - 0.5 * np.log(2 * np.pi))
    assert info["log_prob"] == pytest.approx(float(wanted), abs=1e-4)


def test_what_adapts_can_be_chosen():
    policy = _policy(continuous=True)
    assert policy.inner_parameters("context") == ["context_vector"]
    assert set(policy.inner_parameters("heads")) == {
        "log_std", *(f"{h}_head.{p}" for h in ("policy", "value", "auxiliary")
                     for p in ("weight", "bias")),
    }  # fmt: skip
    assert len(policy.inner_parameters("all")) == len(list(policy.parameters()))
    with pytest.raises(ConfigError, match="inner_params"):
        policy.inner_parameters("head")


def test_second_derivatives_of_the_whole_policy_exist():
    policy = randomised(_policy())
    out = policy(_trees(), _context(policy))
    first = torch.autograd.grad(
        out["policy_logits"].square().sum(), policy.attention.to_key.weight, create_graph=True
    )[0]
    second = torch.autograd.grad(first.square().sum(), policy.attention.to_query.weight)[0]
    assert second.isfinite().all()
    assert second.abs().max() > 0


def test_bad_contexts_are_refused():
    policy = _policy()
    with pytest.raises(ShapeError, match="numbers per step"):
        policy(_trees(), torch.rand(1, 1, 1, 7))
    with pytest.raises(ShapeError, match="1 or 4 tasks"):
        policy(_trees(), _context(policy, 3))
    with pytest.raises(ShapeError, match="at least 9"):
        policy.padded_mask(np.ones(9))
    with pytest.raises(ConfigError, match="Discrete or Box"):
        policy_for(spaces.Box(-1, 1, (3,)), spaces.MultiBinary(3))


def _planted(batch, generator):
    """Trees and tasks such that the value is what stands at the node that the task names."""
    trees = torch.zeros(batch, NODES, 8)
    trees[..., 0] = 1.0
    trees[..., 1] = torch.arange(NODES) / 29
    trees[..., 7] = torch.rand(batch, NODES, generator=generator) * 2 - 1
    task = torch.randint(NODES, (batch,), generator=generator)
    return trees, task, trees[torch.arange(batch), task, 7]


def _trained(steps=300, **settings):
    """A policy that has learned to read the node that its context names."""
    policy = _policy(**settings)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(policy.parameters(), 5e-3)
    for _ in range(steps):
        trees, task, target = _planted(64, generator)
        out = policy(trees.flatten(1), _naming(policy, task))
        loss = F.mse_loss(out["value"], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy, float(loss.detach())


def _naming(policy, task):
    context = torch.zeros(len(task), 1, 1, policy.context_dim)
    context[..., -1] = 1.0
    where = policy.observation_dim + task.remainder(ACTIONS)
    context[torch.arange(len(task)), 0, 0, where] = (task < ACTIONS).float()
    return context


@pytest.fixture(scope="module")
def reader():
    return _trained()


def test_attention_finds_the_node_that_the_task_names(reader):
    """The planted signal: the most attended node is the named one, and little else is looked at."""
    policy, _ = reader
    trees, task, _ = _planted(200, torch.Generator().manual_seed(2))
    stats = policy.get_attention_stats(trees.flatten(1), _naming(policy, task))
    before = _policy().get_attention_stats(trees.flatten(1), _naming(policy, task))
    assert (stats["attention_argmax"] == task.numpy()).mean() >= 0.95
    assert before["attention_entropy_normalized"].mean() > 0.9
    assert stats["attention_entropy_normalized"].mean() < 0.3


def test_deleting_what_is_attended_matters_most(reader):
    policy, _ = reader
    trees, task, _ = _planted(200, torch.Generator().manual_seed(3))
    context = _naming(policy, task)
    top = torch.from_numpy(
        policy.get_attention_stats(trees.flatten(1), context)["attention_argmax"]
    )
    value = policy(trees.flatten(1), context)["value"]

    def change(node):
        without = trees.clone()
        without[torch.arange(200), node, 0] = 0.0
        return (policy(without.flatten(1), context)["value"] - value).abs().mean()

    assert change(top) > 3 * change((top + 1) % NODES)


def test_a_single_key_cannot_read_what_the_task_names(reader):
    _, found = reader
    _, lost = _trained(attention=SingleKeyAttention(16, 2))
    assert found < 0.03
    assert lost > 0.12


@pytest.mark.parametrize(("weight", "sign"), [(10.0, -1), (-10.0, 1)])
def test_the_weight_of_entropy_focuses_or_spreads(weight, sign):
    policy = randomised(_policy())
    optimizer = torch.optim.SGD(policy.parameters(), 1e-3)
    trees, context = _trees(), _context(policy)

    def entropy():
        attended = policy(trees, context)["decision"].attended
        return attention_entropy(attended.weights, attended.mask).mean()

    before = entropy()
    (weight * before).backward()
    optimizer.step()
    assert sign * (entropy() - before) > 0
