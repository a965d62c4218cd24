"""Searches that end in the true law, counted, repeated, and written down."""

import json

import numpy as np
import pytest

from aime_agent.errors import ConfigError
from aime_agent.meta.discover import DiscoverConfig, discover, report, save_report
from aime_agent.meta.search import SearchConfig, search
from aime_agent.symbolic import Samples, find_task, task_from_data
from aime_agent.symbolic.equivalence import How
from aime_agent.symbolic.score import Scorer
from aime_agent.symbolic.vocabulary import ID

ROWS = Samples(np.array([[1.0, 2.0, 3.0]]), np.array([2.0, 4.0, 6.0]))
LONGER = (ID["sub"], *(ID["add"], ID["x0"], ID["x0"]), *(ID["sub"], ID["x0"], ID["x0"]))
BAD, GOOD = (ID["x0"],), (ID["add"], ID["x0"], ID["x0"])


class Scripted:
    """Proposes what it was told, and remembers what it was taught."""

    def __init__(self, batches):
        self.batches, self.taught = list(batches), []

    def propose(self, count):
        return self.batches.pop(0)[:count]

    def learn(self, rewards):
        self.taught.append(len(rewards))
        return {}


def run(batches, evaluations=100, accept=lambda _: True, watch=None):
    proposer = Scripted(batches)
    scorer = Scorer(ROWS, 10, np.random.default_rng(0))
    config = SearchConfig(evaluations=evaluations, batch_size=2)
    return search(proposer, scorer, config, accept, watch), proposer


def test_a_search_ends_where_the_law_is_found():
    outcome, proposer = run([[BAD, BAD], [BAD, GOOD], [BAD, BAD]])
    assert (outcome.solved_at, outcome.evaluations, outcome.distinct) == (4, 4, 2)
    assert outcome.best.expression.tokens == GOOD
    assert [evaluations for evaluations, _ in outcome.curve] == [1, 4]
    assert proposer.taught == [2, 2]


def test_the_accepted_law_is_kept_though_a_later_one_of_its_batch_is_worth_more():
    outcome, _ = run([[LONGER, GOOD]])
    assert outcome.best.expression.tokens == LONGER
    assert outcome.solved_at == 1


def test_a_search_ends_where_the_count_is_used_up():
    outcome, proposer = run([[BAD, BAD], [BAD, GOOD]], evaluations=3)
    assert (outcome.solved_at, outcome.evaluations) == (None, 3)
    assert proposer.taught == [2, 1]


def test_each_fitting_law_is_asked_for_once():
    asked = []

    def refuse(score):
        asked.append(score.expression.tokens)

    outcome, _ = run([[GOOD, GOOD], [GOOD, BAD]], 4, lambda s: bool(refuse(s)))
    assert asked == [GOOD]
    assert outcome.solved_at is None


def test_watching_may_end_a_search():
    outcome, _ = run([[BAD, BAD]] * 9, watch=lambda progress: progress.evaluations >= 4)
    assert outcome.evaluations == 4
    assert outcome.interrupted


@pytest.mark.parametrize(
    ("method", "name"), [("random", "feynman_I.12.1"), ("risk-seeking", "kepler_third_law")]
)
def test_easy_laws_are_recovered_with_units(method, name):
    config = DiscoverConfig(method=method, search=SearchConfig(evaluations=2000, batch_size=50))
    found = discover(find_task(name), config)
    assert found.recovered
    assert found.verdict.how is How.ALGEBRA
    expected = {"feynman_I.12.1": "Nn*mu", "kepler_third_law": "4*pi**2*a**3/(G*M)"}
    assert found.simplified == expected[name]


def test_report_repeats_but_for_the_clock(tmp_path):
    config = DiscoverConfig(search=SearchConfig(evaluations=120, batch_size=60))
    task = find_task("nguyen_12")
    path = save_report(discover(task, config), tmp_path / "a" / "found.json")
    stored = json.loads(path.read_text())
    again = json.loads(json.dumps(report(discover(task, config))))
    for key in set(stored) - {"seconds"}:
        assert stored[key] == again[key], key
    assert (stored["evaluations"], stored["seed"], stored["recovered"]) == (120, 0, False)
    assert {"aime-agent", "torch", "sympy"} <= set(stored["versions"])
    assert stored["config"]["search"]["evaluations"] == 120


def test_own_data_need_no_law():
    rows = np.random.default_rng(0).uniform(0.5, 2, (2, 40))
    task = task_from_data(["a", "b", "y"], Samples(rows, rows[0] * rows[1]), max_constants=0)
    config = DiscoverConfig(method="random", max_nodes=5, search=SearchConfig(evaluations=3000))
    found = discover(task, config)
    assert found.outcome.solved_at is not None
    assert found.simplified == "a*b"
    assert found.verdict is None
    assert report(found)["extrapolation_nrmse"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nguyen_1", "nguyen_9"])
def test_risk_seeking_search_finds_what_random_search_does_not(name):
    config = DiscoverConfig(search=SearchConfig(evaluations=100_000))
    assert discover(find_task(name), config).recovered


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match=r"method must be one of.*found 'genetic'"):
        DiscoverConfig(method="genetic")
    with pytest.raises(ConfigError, match="evaluations must be at least 1, found 0"):
        SearchConfig(evaluations=0)
    with pytest.raises(ConfigError, match="has no units"):
        discover(find_task("nguyen_1"), DiscoverConfig(units=True))
