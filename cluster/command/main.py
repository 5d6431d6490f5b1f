"""The command `cluster`: reads what was typed, and runs the verb."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ...transport.version import VERSION
from . import job, join, start, status, stop, token
from .failure import CommandError

_VERBS = (start, join, status, job, stop, token)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what was typed after the command's name; None: the process's.

    Returns:
        The exit code: 0, 1 where the command failed (the reason is on stderr), 2 where it was typed wrong.
    """
    parser = argparse.ArgumentParser(prog="cluster", description="Start, join, use and stop clusters of Limelight.")
    parser.add_argument("--version", action="version", version=f"Limelight {VERSION}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in _VERBS:
        verb.add_parser(verbs)
    options = parser.parse_args(arguments)
    run: Callable[[Any], int] = options.run
    try:
        return run(options)
    except CommandError as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
