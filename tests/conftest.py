"""What every test gets: fixed seeds, one thread, and options for device and dtype."""

import os

# Before torch and mujoco are imported, or it has no effect.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("LP_NUM_THREADS", "1")

import random
import typing

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped


def pytest_addoption(parser):
    group = parser.getgroup("aime")
    group.addoption("--device", default="cpu", help="where tests that ask for `device` run")
    group.addoption(
        "--dtype", default="float32", help="floating type of tests that ask for `dtype`"
    )


def pytest_configure():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seeds():
    """Global generators start every test the same; library code must not need them."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (third-party code reads the global one)
    torch.manual_seed(0)


@pytest.fixture
def device(request):
    """The device named by ``--device``; skips where it does not exist."""
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(name)


@pytest.fixture
def dtype(request):
    """The torch dtype named by ``--dtype``."""
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture
def assert_fields():
    """Checks a NamedTuple's fields against their jaxtyping annotations, sizes bound jointly.

    The import hook checks calls only: a NamedTuple's constructor is not among them.
    """

    def check(value):
        hints = typing.get_type_hints(type(value), include_extras=True)
        names = list(value._fields)
        source = f"lambda {', '.join(names)}: None"
        probe = eval(source)
        probe.__name__ = type(value).__name__
        probe.__annotations__ = {name: hints[name] for name in names}
        try:
            jaxtyped(probe, typechecker=beartype)(*value)
        except TypeCheckError as error:
            raise AssertionError(f"{type(value).__name__}: {error}") from error

    return check
