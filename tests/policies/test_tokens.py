"""Tokenizers: what lies where, what is there, and that names of places do not matter."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from laws import assert_equal, every_parameter_gets_gradient, randomised

import aime_agent  # noqa: F401  (registers ids)
from aime_agent.errors import ConfigError
from aime_agent.policies.tokens import (
    Layout,
    SlotTokenizer,
    StateTokenizer,
    TreeTokenizer,
    tokenizer_for,
)


def _law_env(**settings):
    return gym.make("AIME/SymbolicDiscovery-v0", task="kepler_orbit", **settings)


def _half_written(**settings):
    """A flat observation after two tokens, and the environment's space."""
    env = _law_env(**settings)
    flat = gym.wrappers.FlattenObservation(env)
    observation, info = flat.reset(seed=0)
    for _ in range(2):
        options = np.flatnonzero(info["action_mask"])
        observation, _, _, _, info = flat.step(options[-1])
    return torch.from_numpy(np.asarray(observation, np.float32))[None], env.observation_space


def test_layout_finds_the_parts_of_a_flattened_dictionary():
    env = _law_env()
    observation, _ = env.reset(seed=0)
    space = env.observation_space
    flat = torch.from_numpy(np.asarray(spaces.flatten(space, observation), np.float32))[None]
    seen = Layout(space).cut(flat)
    assert_equal(seen["data"].reshape(32, 11), torch.from_numpy(observation["data"]))
    assert seen["parent"].argmax() == observation["parent"]
    assert list(seen) == list(space.spaces)


def test_law_tokenizer_finds_the_nodes_and_every_part_learns():
    flat, space = _half_written()
    tokenizer = tokenizer_for(space, 8)
    assert tokenizer(flat).mask.sum() == 2
    every_parameter_gets_gradient(tokenizer, lambda m: (m(flat).summary(), m(flat).tokens))


def test_rows_are_a_set_and_everything_else_counts():
    flat, space = _half_written()
    tokenizer = randomised(tokenizer_for(space, 8))
    one = tokenizer(flat)
    rows = tokenizer.layout.slices["data"]
    turned = flat.clone()
    turned[:, rows] = flat[:, rows].reshape(1, 32, 11)[:, torch.randperm(32)].flatten(1)
    assert_equal(tokenizer(turned).state, one.state, atol=1e-5)
    for key in ("parent", "scalars", "required_unit", "variables", "data"):
        other = flat.clone()
        other[:, tokenizer.layout.slices[key]] += torch.rand(spaces.flatdim(space[key]))
        assert (tokenizer(other).state - one.state).abs().max() > 1e-5, key


def test_flat_trees_have_a_token_per_placed_node():
    flat, _ = _half_written(observation="flat")
    found = TreeTokenizer(flat.shape[1], 8)(flat)
    assert found.mask.sum() == 2
    assert torch.equal(found.state, torch.zeros(1, 8))


def test_a_node_knows_its_parent_and_grandparent_only():
    nodes = torch.zeros(1, 4, 8)
    nodes[..., 0] = 1.0
    nodes[0, :, 4] = torch.tensor([0.0, 1.0, 2.0, 3.0]) / 4  # a chain: 0 <- 1 <- 2 <- 3
    nodes = nodes.requires_grad_()
    tokens = randomised(TreeTokenizer(32, 8))(nodes.flatten(1)).tokens
    (grad,) = torch.autograd.grad(tokens[0, 3].sum(), nodes)
    assert grad[0, :, 7].ne(0).tolist() == [False, True, True, True]


def test_slot_tokens_are_exchangeable_and_the_belief_is_the_state():
    space = spaces.Dict(
        {
            "belief": spaces.Box(-1, 1, (6,)),
            "slots": spaces.Box(-1, 1, (3 * 4,)),
            "centers": spaces.Box(-1, 1, (3 * 2,)),
            "mass": spaces.Box(0, 1, (3,)),
        }
    )
    tokenizer = tokenizer_for(space, 8)
    assert isinstance(tokenizer, SlotTokenizer)
    parts = {key: torch.randn(1, n) for key, n in (("belief", 6), ("slots", 12), ("centers", 6))}
    parts["mass"] = torch.rand(1, 3)
    turn = torch.tensor([2, 0, 1])

    def flat(order):
        cut = {key: parts[key].reshape(3, -1)[order].reshape(1, -1) for key in list(parts)[1:]}
        return torch.cat([(parts | cut)[key] for key in space.spaces], dim=1)

    one, two = tokenizer(flat(torch.arange(3))), tokenizer(flat(turn))
    assert_equal(two.tokens, one.tokens[:, turn], atol=1e-6)
    assert_equal(two.state, one.state)
    every_parameter_gets_gradient(tokenizer, lambda m: m(flat(turn)).summary())


def test_states_have_a_token_per_key_or_per_number():
    box = StateTokenizer.from_space(spaces.Box(-1, 1, (3,)), 8)
    assert box(torch.randn(2, 3)).tokens.shape == (2, 3, 8)
    keys = {"position": spaces.Box(-1, 1, (2,)), "velocity": spaces.Box(-1, 1, (5,))}
    tokenizer = tokenizer_for(spaces.Dict(keys), 8)
    x = torch.randn(2, 7)
    other = torch.cat([x[:, :2], torch.randn(2, 5)], dim=1)
    assert_equal(tokenizer(x).tokens[:, 0], tokenizer(other).tokens[:, 0])
    every_parameter_gets_gradient(tokenizer, lambda m: m(x).summary())


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-1, 1, (99,))])
def test_what_cannot_be_cut_is_refused(space):
    with pytest.raises(ConfigError, match="at most 64"):
        tokenizer_for(space, 8)


def test_nodes_must_fit_the_observation():
    with pytest.raises(ConfigError, match="divide observation_dim=100"):
        TreeTokenizer(100, 8)
