"""Seeds of episodes."""

import numpy as np
import pytest

from aime_agent.envs.episodes import EpisodeSeeds
from aime_agent.errors import DataError


def stream(seed, count):
    seeds = EpisodeSeeds()
    seeds.start(seed)
    return [seeds.next() for _ in range(count)]


def test_first_episode_has_the_seed_itself():
    assert stream(11, 1) == [11]


def test_later_seeds_by_hand():
    assert stream(11, 3)[2] == int(np.random.SeedSequence((11, 2)).generate_state(1)[0])


def test_an_episode_depends_on_stream_and_index_alone():
    seeds = EpisodeSeeds()
    seeds.start(5, episode=3)
    assert seeds.next() == stream(5, 4)[3]


def test_seeds_are_distinct_and_fit_a_word_even_if_the_stream_does_not():
    seeds = stream(2**70, 100) + stream(3, 100)
    assert len(set(seeds)) == 200
    assert max(seeds) < 2**32


def test_next_without_start_is_refused():
    with pytest.raises(DataError, match="start"):
        EpisodeSeeds().next()
