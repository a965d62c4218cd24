"""What the benchmarks' commands have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aime_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from aime_agent.training.bench.queue import Finished


def check_bench(jobs: int, page: str | None, pages_only: bool) -> None:
    """Refuses what cannot work before anything begins."""
    if jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, found {jobs}")
    if pages_only and page is None:
        raise ConfigError("--pages-only needs --page FILE.md, the page to rewrite")


def read_seeds(text: str) -> tuple[int, ...]:
    """Reads ``--seeds``.

    >>> read_seeds("0,2")
    (0, 2)
    """
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds must be whole numbers such as 0,1,2, found {text!r}") from error


def split(text: str) -> tuple[str, ...]:
    """Names that are separated by commas.

    >>> split("walker-walk, finger-spin")
    ('walker-walk', 'finger-spin')
    """
    return tuple(name.strip() for name in text.split(","))


def say(end: "Finished") -> None:
    """Prints how a job ended."""
    print(f"{end.spec.name}: {end.problem or 'done'}", flush=True)


def show_tables(
    results: Path, page: str | None, tables_of: Callable[[list[dict[str, Any]]], dict[str, str]]
) -> list[dict[str, Any]]:
    """Prints the tables of stored rows, rewrites the page's, and returns the rows.

    Raises:
        DataError: there is no row.
    """
    from aime_agent.training.bench.rows import stored_rows
    from aime_agent.training.bench.tables import fill_page

    rows = stored_rows(results)
    if not rows:
        raise DataError(f"{results}: at least one run required, found none")
    tables = tables_of(rows)
    print(*tables.values(), sep="\n")
    if page is not None:
        fill_page(Path(page), tables)
    return rows
