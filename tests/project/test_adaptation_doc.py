"""docs/meta_learning.md says what the stored adaptation runs say."""

from pathlib import Path

from aime_agent.meta.adaptation_report import report_tables
from aime_agent.training.bench.rows import stored_rows
from aime_agent.training.bench.tables import fill

ROOT = Path(__file__).parents[2]
ROWS = stored_rows(ROOT / "benchmarks" / "results" / "adaptation.json")


def test_tables_are_those_of_the_results():
    page = ROOT / "docs" / "meta_learning.md"
    text = page.read_text(encoding="utf-8")
    assert fill(text, report_tables(ROWS)) == text
    assert (page.parent / "images" / "adaptation_navigation2d.png").exists()


def test_one_inner_step_of_a_meta_trained_policy_gains_seven():
    """What the page claims first, of every stored seed."""
    runs = [row for row in ROWS if (row["family"], row["arm"]) == ("navigation2d", "maml")]
    gains = [sum(r[1] - r[0] for r in row["returns"]) / len(row["returns"]) for row in runs]
    assert len(gains) >= 2
    assert min(gains) >= 7.0
