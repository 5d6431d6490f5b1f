"""`cluster token`: the secret that lets machines join this user's clusters."""

import argparse
import sys
from typing import Any

from ..token_file import TokenError, make_token, token_path
from .failure import CommandError


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "token",
        help="print the token that others join with",
        description="Print the token that other machines join this user's clusters with; made at first use. Whoever "
        "has it can run programs as this user.",
    )
    parser.add_argument("--path", action="store_true", help="print the name of the file that keeps it instead")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.path:
        sys.stdout.write(f"{token_path()}\n")
        return 0
    try:
        sys.stdout.write(make_token() + "\n")
    except TokenError as error:
        raise CommandError(str(error)) from None
    return 0
