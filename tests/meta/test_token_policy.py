"""The policy: starts as the prior, remembers, learns with all its parts."""

import torch
from laws import assert_equal, batch_equals_singles, every_parameter_gets_gradient

from aime_agent.meta.token_policy import TokenPolicy
from aime_agent.symbolic.grammar import NO_TOKEN

CONTEXTS = torch.tensor(
    [[[NO_TOKEN, NO_TOKEN, NO_TOKEN], [14, NO_TOKEN, 14]], [[25, 0, 1], [3, 2, 1]]]
)


def test_untrained_logits_are_zero():
    policy = TokenPolicy()
    logits, _ = policy(CONTEXTS, policy.initial(2))
    assert torch.equal(logits, torch.zeros(2, 2, 29))


def test_every_part_learns():
    every_parameter_gets_gradient(TokenPolicy(8, 4), lambda m: m(CONTEXTS, m.initial(2))[0])


def test_token_by_token_equals_the_whole_sequence():
    policy = TokenPolicy(8, 4)
    torch.nn.init.normal_(policy.head.weight)
    whole, _ = policy(CONTEXTS, policy.initial(2))
    memory, steps = policy.initial(2), []
    for t in range(2):
        logits, memory = policy(CONTEXTS[:, t : t + 1], memory)
        steps.append(logits)
    assert_equal(torch.cat(steps, 1), whole, atol=1e-6)
    batch_equals_singles(lambda c: policy(c, policy.initial(len(c)))[0], CONTEXTS)
