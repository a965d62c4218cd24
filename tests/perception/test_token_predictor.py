import math

import pytest
import torch

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.perception.token_predictor import PerceiverTokenPredictor

SMALL = {
    "context_dim": 6,
    "action_dim": 2,
    "num_codes": 5,
    "grid_size": (2, 3),
    "query_dim": 4,
    "hidden_dim": 7,
}


def inputs(num=3):
    return torch.randn(num, 6), torch.randn(num, 2), torch.randint(5, (num, 2, 3))


def test_loss_of_even_logits_is_log_k():
    predictor = PerceiverTokenPredictor(**SMALL)
    torch.nn.init.zeros_(predictor.to_logits.weight)
    torch.nn.init.zeros_(predictor.to_logits.bias)
    torch.testing.assert_close(predictor.loss(*inputs()), torch.full((3,), math.log(5)))


def test_logits_have_one_row_per_cell_and_quantiser():
    context, action, _ = inputs()
    assert PerceiverTokenPredictor(**SMALL)(context, action).shape == (3, 2, 3, 5)
    product = PerceiverTokenPredictor(**SMALL, num_quantizers=2)
    assert product.logits(context, action).shape == (3, 2, 3, 2, 5)
    assert product.loss(context, action, torch.randint(5, (3, 2, 3, 2))).shape == (3,)


def test_action_and_context_matter():
    context, action, _ = inputs()
    predictor = PerceiverTokenPredictor(**SMALL)
    logits = predictor.logits(context, action)
    assert not torch.allclose(predictor.logits(context, action + 1), logits)
    assert not torch.allclose(predictor.logits(context + 1, action), logits)


def test_frames_are_independent():
    context, action, ids = inputs()
    predictor = PerceiverTokenPredictor(**SMALL)
    single = predictor.loss(context[:1], action[:1], ids[:1])
    torch.testing.assert_close(predictor.loss(context, action, ids)[:1], single)


def test_every_parameter_gets_a_gradient():
    predictor = PerceiverTokenPredictor(**SMALL)
    predictor.loss(*inputs()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in predictor.parameters())


def test_tokens_that_follow_the_action_are_learned():
    torch.manual_seed(0)
    predictor = PerceiverTokenPredictor(**SMALL)
    context, action, _ = inputs(64)
    ids = (action[:, 0] > 0).long()[:, None, None].expand(64, 2, 3)
    adam = torch.optim.Adam(predictor.parameters(), 3e-2)
    for _ in range(60):
        loss = predictor.loss(context, action, ids).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.2


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_keyword_acts(name):
    changed = {**SMALL, name: (4, 4) if name == "grid_size" else SMALL[name] + 1}
    sizes = [
        sum(p.numel() for p in PerceiverTokenPredictor(**s).parameters()) for s in (SMALL, changed)
    ]
    assert sizes[0] < sizes[1]


def test_bad_options_and_shapes_are_named():
    with pytest.raises(ConfigError, match="query_dim"):
        PerceiverTokenPredictor(**{**SMALL, "query_dim": 0})
    context, action, ids = inputs()
    predictor = PerceiverTokenPredictor(**SMALL)
    with pytest.raises(ShapeError, match="action_dim"):
        predictor.logits(context, torch.randn(3, 21))
    with pytest.raises(ShapeError, match="next_ids"):
        predictor.loss(context, action, ids[:, :1])
