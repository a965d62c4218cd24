"""Ids are a contract: stored policies and datasets hold them."""

import pytest

from aime_agent.errors import ConfigError
from aime_agent.symbolic.vocabulary import ARITY, VOCABULARY, library_ids

ORDER = """x0 x1 x2 x3 x4 x5 x6 x7 x8 x9 const 1 2 pi add sub mul div neg inverse square cube sqrt
exp log sin cos tanh abs"""


def test_ids_are_these_and_may_only_grow():
    names = [token.name for token in VOCABULARY]
    assert names[:29] == ORDER.split()
    assert [token.id for token in VOCABULARY] == list(range(len(VOCABULARY)))


def test_arities():
    assert ARITY[:14] == (0,) * 14
    assert ARITY[14:18] == (2,) * 4
    assert ARITY[18:29] == (1,) * 11


def test_unknown_token_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'squar'.*'square'"):
        library_ids(["add", "squar"])
