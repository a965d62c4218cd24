"""Tables say what the results hold; both readings by hand; a page keeps everything but its tables."""

import pytest

from aime_agent.errors import DataError
from aime_agent.training.bench.tables import (
    all_tables,
    arms_table,
    at_cpu,
    calibration_table,
    claims_table,
    curve_score,
    fill,
    prediction_table,
    spread,
)

HORIZONS = ["1", "15"]


def scores(value):
    return {name: dict.fromkeys(HORIZONS, value) for name in ("psnr", "fg_psnr", "ssim")}


def result(arm, seed=0, ours=12.0, slope=1.0, seconds=40.0, base="default"):
    """A run whose masked PSNR starts at 8 and gains ``slope`` dB per 10 CPU seconds."""
    points = [
        {
            "updates": n,
            "cpu_seconds": seconds * n / 4,
            "pictures": scores(8 + slope * seconds * n / 40),
        }
        for n in (1, 2, 4)
    ]
    coverage = {f"coverage_{level}": dict.fromkeys(HORIZONS, 0.25) for level in (50, 90)}
    return {
        "spec": {"arm": arm, "task": "cart", "seed": seed},
        "arm": {"name": arm, "what": "something", "base": base},
        "parameters": 1234567,
        "cpu_seconds_per_update": seconds / 4,
        "curve": points,
        "final": {
            "horizons": [1, 15],
            "futures": 19,
            "mask": "fg",
            "pictures": {
                "copy_last": scores(10.0),
                "mean_frame": scores(11.0),
                **dict.fromkeys(("likeliest", "sampled", "mean_of_n", "best_of_n"), scores(ours)),
            },
            "reward": {k: dict.fromkeys(HORIZONS, 0.5) for k in ("error", "correlation")},
            "latent": {"error": dict.fromkeys(HORIZONS, 0.75)},
            "bits_per_dim": 3.21,
            "calibration": {"reward": coverage, "latent": coverage},
        },
    }


@pytest.fixture
def results():
    return [result("default"), result("rssm", seconds=20.0, slope=2.0)]


def cells(table, row):
    (line,) = [x for x in table.splitlines() if x.startswith(f"| {row}")]
    return [c.strip() for c in line.strip("|").split("|")]


def test_spread_over_seeds():
    assert spread([2.0]).text() == "2.00"
    assert spread([1.0, 2.0, 3.0]).text(1) == "2.0 ± 1.0"


@pytest.mark.parametrize(
    ("seconds", "score"), [(5.0, 9.0), (10.0, 9.0), (15.0, 9.5), (30.0, 11.0), (99.0, 12.0)]
)
def test_curve_is_read_between_its_points_and_never_beyond(seconds, score):
    one = result("default")
    assert at_cpu(one, seconds, curve_score(one, "15")) == pytest.approx(score)


def test_arms_are_read_at_equal_updates_and_at_equal_time(results):
    table = arms_table(results, "cart")
    head = cells(table, "arm")
    ours = dict(zip(head, cells(table, "`default`"), strict=True))
    control = dict(zip(head, cells(table, "`rssm`"), strict=True))
    # The control is done after 20 CPU seconds; there the default is half way.
    assert ours["FG-PSNR 15 at equal CPU"] == "10.00"
    assert control["FG-PSNR 15 at equal CPU"] == "12.00"
    assert (ours["CPU ms per update"], control["CPU ms per update"]) == ("10000", "5000")
    assert ours["parameters"] == "1,234,567"
    assert ours["bits per dim"] == "3.210"
    assert control["differs from"] == "`default`"


def test_prediction_table_has_baselines_and_paths(results):
    table = prediction_table(results, "cart")
    assert cells(table, "last seen frame")[1:3] == ["10.0", "10.0"]
    assert cells(table, "`default`, best of 19")[1:3] == ["12.0", "12.0"]
    assert cells(table, "prediction")[1:3] == ["FG-PSNR 1", "FG-PSNR 15"]


def test_claims_hold_or_not_by_the_figures(results):
    lines = {c[1]: c for c in (x.split(" | ") for x in claims_table(results).splitlines()[2:])}
    assert lines["beats the last seen frame at every horizon"][2] == "yes"
    assert lines["beats the mean frame up to horizon 15"][3].startswith("1: +1.00")
    assert lines["not worse than `rssm` at equal CPU"][2] == "**no**"
    assert "-2.00" in lines["not worse than `rssm` at equal CPU"][3]


def test_calibration_is_in_percent(results):
    assert set(cells(calibration_table(results, "cart"), "`rssm`")[1:]) == {"25"}


def test_page_keeps_everything_but_its_tables(results):
    page = "a\n<!-- table: arms cart -->\nold\n<!-- end -->\nb\n"
    tables = all_tables(results)
    new = fill(page, tables)
    assert new.startswith("a\n<!-- table: arms cart -->\n\n| arm |")
    assert new.endswith("<!-- end -->\nb\n")
    assert "old" not in new
    assert fill(new, tables) == new


def test_page_that_asks_for_too_much_is_refused(results):
    with pytest.raises(DataError, match="no table 'arms moon'"):
        fill("<!-- table: arms moon -->\n<!-- end -->", all_tables(results))
