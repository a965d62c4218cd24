"""docs/results.md says what the stored curves say."""

from pathlib import Path

from aime_agent.training.bench.dmc100k_report import report_tables
from aime_agent.training.bench.published import load_published
from aime_agent.training.bench.rows import stored_rows
from aime_agent.training.bench.tables import fill

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results.md"


def test_tables_are_those_of_the_results():
    text = PAGE.read_text(encoding="utf-8")
    rows = stored_rows(ROOT / "benchmarks" / "results" / "dmc100k.json")
    assert (
        fill(
            text,
            report_tables(
                rows, load_published(ROOT / "benchmarks" / "baselines" / "dmc100k_published.json")
            ),
        )
        == text
    )
    assert text.count("<!-- table:") == 3
    assert (PAGE.parent / "images" / "dmc100k.png").exists()


def test_scores_are_those_of_clean_code():
    rows = stored_rows(ROOT / "benchmarks" / "results" / "dmc100k.json")
    assert [c for row in rows for c in row["commits"] if not c or c.endswith("+")] == []
