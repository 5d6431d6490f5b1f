"""The command line of `cluster`: reads what was typed, and runs the verb."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ...transport.version import VERSION
from ..client.failure import CommandError
from ..session_info import SessionFolderError
from ..tls_folder import TlsFileError
from ..token_file import TokenError
from . import drain, job, join, launch, start, status, stop, token

_VERBS = (start, join, status, job, drain, stop, token, launch)
_ALIKE = 0.75
"""From 0 to 1: how alike what was typed and an option are, for it to be proposed."""


def run_command(arguments: Sequence[str] | None) -> int:
    """Run a command; see `main`.

    Args:
        arguments: what was typed after the command's name; None: the process's.

    Returns:
        The exit code: 0, 1 where the command failed (the reason is on stderr), 2 where it was typed wrong.
    """
    options, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options.parser.refuse(unknown)
    run: Callable[[Any], int] = options.run
    try:
        return run(options)
    except (CommandError, SessionFolderError, TlsFileError, TokenError) as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 1


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line; the options it returns have the verb as `run`."""
    parser = _Parser(prog="cluster", description="Start, join, use and stop clusters of Limelight.")
    parser.add_argument("--version", action="version", version=f"Limelight {VERSION}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in _VERBS:
        verb.add_parser(verbs)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the verbs' parsers are of its class.

    The options that one reads have as `parser` the one of the verb, or of the verb's own verb.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_defaults(parser=self)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End the process, for there are words that it has no use for."""
        hint = str(self.get_default("on_unknown") or "")
        near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, 1, _ALIKE)
        self.error(
            f"unrecognized arguments: {' '.join(unknown)}"
            + (f". Did you mean {near[0]}?" if near else f". {hint}" if hint else "")
        )

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        self.exit(2, f"{self.prog}: {message}\n`{self.prog} --help` shows how it is typed.\n")
