"""Figures of matplotlib, the extra ``plots``, without its global state or a display."""

from typing import Any

from aime_agent.errors import MissingDependencyError


def new_figure(**settings: Any) -> Any:
    """Returns an empty `matplotlib.figure.Figure`.

    Args:
        **settings: Its keywords, such as ``figsize`` in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "pictures of curves need matplotlib: pip install 'aime-agent[plots]'"
        ) from error
    return Figure(**settings)
