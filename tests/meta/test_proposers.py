"""Who writes laws: probabilities by hand, and learning that goes where the reward is."""

import numpy as np
import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.meta.proposers import (
    RandomProposer,
    RiskSeekingConfig,
    RiskSeekingProposer,
    Written,
)
from aime_agent.symbolic.grammar import NO_TOKEN, Grammar
from aime_agent.symbolic.vocabulary import ID, NUM_TOKENS

ADD = ID["add"]
TINY = Grammar(("add",), 2, max_nodes=3)
ALL_LAWS = [(0,), (1,), *[(ADD, i, j) for i in (0, 1) for j in (0, 1)]]


def written(grammar, laws):
    """What the policy would have seen, had it written these laws."""
    length = max(map(len, laws))
    tokens = torch.zeros(len(laws), length, dtype=torch.int64)
    contexts = torch.full((len(laws), length, 3), NO_TOKEN)
    prior = torch.zeros(len(laws), length, NUM_TOKENS)
    prior[..., 0] = 1.0
    valid = torch.zeros(len(laws), length, dtype=torch.bool)
    for i, law in enumerate(laws):
        draft = grammar.begin()
        for t, token in enumerate(law):
            contexts[i, t] = torch.tensor([draft.parent, draft.sibling, draft.previous])
            prior[i, t] = torch.from_numpy(draft.options().prior)
            tokens[i, t], valid[i, t] = token, True
            draft.place(token)
    return Written(tokens, contexts, prior.log(), valid)


def trained_head(proposer):
    torch.nn.init.normal_(proposer.policy.head.weight, generator=torch.Generator().manual_seed(0))
    return proposer


def test_probabilities_of_all_laws_sum_to_one():
    proposer = trained_head(RiskSeekingProposer(TINY, np.random.default_rng(0)))
    log_prob, _ = proposer.log_prob_and_entropy(written(TINY, ALL_LAWS))
    assert float(log_prob.detach().exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_untrained_probabilities_are_the_priors():
    proposer = RiskSeekingProposer(TINY, np.random.default_rng(0))
    log_prob, entropy = proposer.log_prob_and_entropy(written(TINY, ALL_LAWS))
    # A leaf or add with one half each; then both leaves are equally likely.
    np.testing.assert_allclose(
        log_prob.detach().exp().tolist(), [0.25, 0.25, *[0.125] * 4], rtol=1e-5
    )
    first = 0.5 * np.log(2) + 0.5 * np.log(4)
    assert float(entropy[0].detach()) == pytest.approx(first, rel=1e-5)
    decay = 0.7 * np.log(2) + 0.49 * np.log(2)
    assert float(entropy[2].detach()) == pytest.approx(first + decay, rel=1e-5)


@pytest.mark.parametrize("kind", [RandomProposer, RiskSeekingProposer])
def test_frequencies_are_the_priors(kind):
    laws = kind(TINY, np.random.default_rng(0)).propose(4000)
    shares = [laws.count(law) / 4000 for law in ALL_LAWS]
    np.testing.assert_allclose(shares, [0.25, 0.25, *[0.125] * 4], atol=0.025)


def test_proposals_follow_the_policy():
    proposer = trained_head(RiskSeekingProposer(TINY, np.random.default_rng(0)))
    log_prob, _ = proposer.log_prob_and_entropy(written(TINY, ALL_LAWS))
    laws = proposer.propose(4000)
    shares = [laws.count(law) / 4000 for law in ALL_LAWS]
    np.testing.assert_allclose(shares, log_prob.detach().exp().tolist(), atol=0.03)


def share_after(updates, reward_of, **settings):
    config = RiskSeekingConfig(learning_rate=0.05, entropy_weight=0.0, **settings)
    proposer = RiskSeekingProposer(TINY, np.random.default_rng(0), config)
    for _ in range(updates):
        laws = proposer.propose(100)
        proposer.learn(np.array([reward_of(law) for law in laws]))
    return [proposer.propose(500).count(law) / 500 for law in ALL_LAWS]


def test_the_best_law_is_learned():
    shares = share_after(25, lambda law: float(law == (ADD, 0, 1)), risk=1.0)
    assert shares[3] > 0.95


def test_gradient_by_hand():
    """At risk 1 the quantile is the least reward; Adam's first step is ± the learning rate."""
    config = RiskSeekingConfig(learning_rate=0.1, risk=1.0, entropy_weight=0.0)
    grammar = Grammar((), 2, max_nodes=1)
    proposer = RiskSeekingProposer(grammar, np.random.default_rng(3), config)
    laws = proposer.propose(8)
    assert {(0,), (1,)} == set(laws)
    before = proposer.policy.head.bias.detach().clone()
    proposer.learn(np.array([float(law == (0,)) for law in laws]))
    moved = proposer.policy.head.bias.detach() - before
    assert float(moved[0]) == pytest.approx(0.1, rel=1e-3)
    assert float(moved[1]) == pytest.approx(-0.1, rel=1e-3)
    assert (moved[2:] == 0).all()


def test_the_same_seed_proposes_the_same():
    first, second = (RiskSeekingProposer(TINY, np.random.default_rng(5)) for _ in range(2))
    for _ in range(3):
        laws = first.propose(50)
        assert laws == second.propose(50)
        rewards = np.array([len(law) / 3 for law in laws])
        assert first.learn(rewards) == second.learn(rewards)


def test_wrong_settings_and_calls_are_refused():
    with pytest.raises(ConfigError, match=r"risk must lie in \(0, 1\], found 0"):
        RiskSeekingConfig(risk=0.0)
    with pytest.raises(ConfigError, match="learning_rate must be positive"):
        RiskSeekingConfig(learning_rate=0.0)
    with pytest.raises(ConfigError, match="one reward for each law"):
        RiskSeekingProposer(TINY, np.random.default_rng(0)).learn(np.zeros(3))
