"""The slow copy: its formula, its distance from the student, its memory."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.optimization import EMA


def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def moved(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    net(torch.randn(5, 3))
    return net


def test_update_follows_the_formula_for_parameters_and_buffers():
    net = student()
    ema = EMA(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    ema.update(moved(net))
    for name, value in net.state_dict().items():
        expected = torch.lerp(before[name], value, 0.9) if value.is_floating_point() else value
        torch.testing.assert_close(ema.module.state_dict()[name], expected)


def test_decay_warms_up_to_its_value():
    ema = EMA(student(), decay=0.5)
    decays = []
    for _ in range(12):
        decays.append(ema.decay)
        ema.update(student())
    assert decays[:2] == [1 / 10, 2 / 11]
    assert decays[-1] == 0.5
    assert EMA(student(), decay=0.5, warmup=False).decay == 0.5


def test_student_is_never_touched():
    net = student()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    ema = EMA(net)
    ema.update(net)
    ema.module.load_state_dict(moved(student()).state_dict())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in ema.module.parameters())


def test_state_continues_exactly_through_safetensors():
    net = student()
    ema, other = EMA(net), EMA(moved(student()))
    ema.update(moved(net))
    other.load_state_dict(load(save(ema.state_dict())))
    for e in (ema, other):
        e.update(net)
    for a, b in zip(
        ema.module.state_dict().values(), other.module.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert ema.updates == other.updates == 2


def test_misuse_is_named():
    with pytest.raises(ConfigError, match=r"EMA\.decay"):
        EMA(student(), decay=1.0)
    with pytest.raises(CheckpointError, match="updates"):
        EMA(student()).load_state_dict({})
