"""The command `cluster`. What it needs is imported where Ctrl-C already ends it quietly."""

import sys
from collections.abc import Sequence

_INTERRUPTED = 130
"""128, and the number of SIGINT: what a shell says of a program that Ctrl-C has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what was typed after the command's name; None: the process's.

    Returns:
        The exit code: 0, 1 where the command failed (the reason is on stderr), 2 where it was typed wrong, 130 where
        Ctrl-C ended it, 141 where whoever read its output has gone.
    """
    try:
        from .standard_stream import standard_streams

        with standard_streams():
            from .command_line import run_command

            return run_command(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
