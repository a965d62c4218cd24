"""Errors belong to one family and to the built-in types a caller may already catch."""

import pytest

from aime_agent import errors
from aime_agent.errors import nearest


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.DataError, ValueError),
        (errors.RenderError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_error_is_of_the_family_and_of_a_builtin_type(error, builtin):
    assert issubclass(error, errors.AimeError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("walker-wlk", "Did you mean 'walker-walk' or 'walker-run'?"),
        ("zzz", "Known: cartpole-balance, walker-run, walker-walk."),
    ],
)
def test_nearest_suggests_or_lists(name, hint):
    assert nearest(name, ["walker-walk", "walker-run", "cartpole-balance"]) == hint


def test_nearest_gives_no_more_than_asked():
    assert nearest("ab", ["ab1", "ab2", "ab3"], most=1).count("'") == 2
