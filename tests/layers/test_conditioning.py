"""Fusions: each by its formula."""

import pytest
import torch
from laws import assert_equal, every_parameter_gets_gradient

from aime_agent.errors import ConfigError
from aime_agent.layers.conditioning import FUSIONS, make_fusion

TASK, READ = torch.randn(3, 8), torch.randn(3, 8)


def test_attention_is_a_normalised_residual():
    fusion = make_fusion("attention", 8)
    torch.nn.init.zeros_(fusion.project.weight)
    torch.nn.init.zeros_(fusion.project.bias)
    assert_equal(fusion(TASK, READ), torch.nn.functional.layer_norm(TASK, (8,)), atol=1e-6)


def test_gate_shares():
    fusion = make_fusion("gating", 8)
    torch.nn.init.zeros_(fusion.gate.weight)
    torch.nn.init.constant_(fusion.gate.bias, torch.tensor(3.0).log().item())
    assert_equal(fusion(TASK, READ), 0.75 * TASK + 0.25 * READ, atol=1e-6)


def test_bilinear_is_linear_in_each_and_low_rank():
    fusion = make_fusion("bilinear", 256)
    for part in (fusion.of_task, fusion.of_read, fusion.out):
        torch.nn.init.zeros_(part.bias)
    task, read = torch.randn(2, 256), torch.randn(2, 256)
    assert_equal(fusion(2 * task, 3 * read), 6 * fusion(task, read), atol=1e-4)
    assert sum(p.numel() for p in fusion.parameters()) < 60_000


def test_film_scales_and_shifts():
    fusion = make_fusion("film", 8)
    torch.nn.init.zeros_(fusion.modulation.weight)
    with torch.no_grad():
        fusion.modulation.bias[:8], fusion.modulation.bias[8:] = 100.0, -1.0
    assert_equal(fusion(TASK, READ), 1.1 * READ - 1.0, atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_part_learns(name):
    every_parameter_gets_gradient(make_fusion(name, 8), lambda m: m(TASK, READ))


def test_unknown_fusion_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'gating'"):
        make_fusion("gatting", 8)
