"""How a command fails."""

from ..process.launcher import NodeStartError


class CommandError(Exception):
    """The command cannot do what was asked; the message says why, and what to do."""


def start_failure(what: str, error: NodeStartError) -> CommandError:
    """The error of a process that did not start, for people: without a traceback where its words say all."""
    return CommandError(f"{what} did not start. {error.text or error}")
