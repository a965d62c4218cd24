"""The ``aime-agent`` command: reads the words, runs the verb, turns errors into one line.

Exit codes: 0 done, 1 ``doctor`` found something wrong, 2 a request that cannot be met, 130 Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence
from importlib import metadata

from aime_agent.errors import AimeError

_REFUSED, _INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``aime-agent`` with these words (default: those of the process).

    >>> main(["trian", "walker-walk"])
    2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # OpenMP's threads spin while they wait, and starve the renderer's on a machine with few cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if words == ["--version"]:
        print(f"aime-agent {metadata.version('aime-agent')}")
        return 0
    try:
        return _run(words)
    except AimeError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(str(error))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def _run(words: Sequence[str]) -> int:
    """Parses and runs; Ctrl-C ends in a hint instead of a traceback."""
    from aime_agent.cli import commands, options
    from aime_agent.cli.record_options import RecordAllArgs, RecordArgs

    args = options.read(words)
    try:
        return commands.run(args, words)
    except KeyboardInterrupt as stop:
        films = isinstance(args, RecordArgs | RecordAllArgs)
        hint = f": {stop}" if films and str(stop) else ""
        if isinstance(args, options.TrainArgs | options.CollectArgs):
            hint = f"; go on with: {commands.resume_hint(words)}"
        print(f"aime-agent: interrupted{hint}", file=sys.stderr)
        return _INTERRUPTED


def _refuse(message: str) -> int:
    print(f"aime-agent: {' '.join(message.split())}", file=sys.stderr)
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
