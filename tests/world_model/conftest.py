"""A small world in float64 whose zero-initialised weights were randomised, and ways to compare."""

import copy
from types import SimpleNamespace

import pytest
import torch
from laws import randomised

from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SIDE, ACTIONS, BATCH, LENGTH = 32, 2, 2, 6
SMALL = {"image_size": SIDE, "action_dim": ACTIONS, "perceiver": {"window": 3}}


def _make(scale=0.15, **changes):
    """A window of 3 frames, so that six frames turn the ring over."""
    torch.manual_seed(0)
    merged = {**SMALL, **changes}
    if "perceiver" in changes:
        merged["perceiver"] = {**SMALL["perceiver"], **changes["perceiver"]}
    model = AimeWorldModel(preset("tiny", **merged)).double()
    model.begin(torch.rand(32, 3, model.config.image_size, model.config.image_size))
    return randomised(model, scale).eval() if scale else model.eval()


def _film(batch=BATCH, length=LENGTH, side=SIDE, actions=ACTIONS):
    g = torch.Generator().manual_seed(5)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    return SimpleNamespace(
        frames=torch.rand(batch, length, 3, side, side, generator=g, dtype=torch.float64),
        actions=torch.rand(batch, length, actions, generator=g, dtype=torch.float64) * 2 - 1,
        rewards=torch.rand(batch, length, generator=g, dtype=torch.float64),
        first=first,
        terminated=torch.zeros_like(first),
    )


def _named(tree, prefix=""):
    found = {}
    for name, value in zip(tree._fields, tree, strict=True):
        if isinstance(value, torch.Tensor):
            found[prefix + name] = value
        elif value is not None:
            found |= _named(value, f"{prefix}{name}.")
    return found


def _leaves(out):
    """All a sequence says, ``[B, T, ...]`` by name; the ring lives in ``out.last`` alone."""
    all_of_it = {
        **_named(out.beliefs),
        **_named(out.prior, "prior."),
        **_named(out.view, "view."),
        "reconstructions": out.reconstructions,
        "predicted_rewards": out.predicted_rewards,
        "predicted_continues": out.predicted_continues,
    }
    return {k: v for k, v in all_of_it.items() if "ring" not in k}


def _moved(before, after, frames=slice(None)):
    """Name → largest difference over the given frames; empty tensors are left out."""
    return {
        k: (before[k][:, frames].double() - after[k][:, frames].double()).abs().max().item()
        for k in before
        if before[k][:, frames].numel()
    }


@pytest.fixture(scope="session")
def make():
    return _make


@pytest.fixture(scope="session")
def world():
    """Shared by all tests: nobody may change it (take a copy, or `make` another)."""
    return _make()


@pytest.fixture
def fresh():
    """As the constructor leaves it, codebook fitted, in training mode; for tests that train."""
    return _make(scale=0).train()


@pytest.fixture
def film():
    return _film()


@pytest.fixture(scope="session")
def make_film():
    return _film


@pytest.fixture(scope="session")
def named():
    return _named


@pytest.fixture(scope="session")
def leaves():
    return _leaves


@pytest.fixture(scope="session")
def moved():
    return _moved


@pytest.fixture
def respond(film):
    """Differences that changed frames or actions at some times make to a world's output."""

    def respond(world, frames=None, actions=None):
        changed = copy.deepcopy(film)
        if frames is not None:
            changed.frames[:, frames] = torch.rand_like(changed.frames[:, frames])
        if actions is not None:
            changed.actions[:, actions] = -changed.actions[:, actions]
        with torch.no_grad():
            out = [_leaves(world.forward_sequence(x.frames, x.actions)) for x in (film, changed)]
        return lambda times: _moved(*out, times)

    return respond
