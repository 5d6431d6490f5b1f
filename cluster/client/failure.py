"""How a question to a cluster, or a command, fails."""

from ..process.launcher import NodeStartError
from ..token_file import token_source

_MOST_DETAIL = 150


class CommandError(Exception):
    """The command cannot do what was asked; the message says why, and what to do."""


def start_failure(what: str, error: NodeStartError) -> CommandError:
    """The error of a process that did not start, for people: without a traceback where its words say all."""
    return CommandError(f"{what} did not start. {error.text or error}")


def join_failure(address: str, error: NodeStartError) -> CommandError:
    """The error of a node that did not get into the cluster at that address, where somebody listens."""
    match error.error_type:
        case "AuthenticationError":
            return wrong_token(address)
        case "ConnectError":
            return not_a_head(address, error.text)
        case "WrongHeadError" | "VersionMismatchError" | "TlsError":
            return CommandError(error.text)
        case _:
            return start_failure("The node", error)


def wrong_token(address: str) -> CommandError:
    """The two sides hold different tokens."""
    return CommandError(
        f"The cluster at {address} has another token than this machine, which took its own from {token_source()}. "
        "`cluster token` on the head's machine prints the right one: type LIMELIGHT_TOKEN=… before the command."
    )


def not_a_head(address: str, what: str) -> CommandError:
    """Something listens there, and does not answer as it should; `what` it did is for experts."""
    detail = what.partition("\n")[0]
    return CommandError(
        f"What listens at {address} does not answer as a head of Limelight does. `cluster status` on the head's "
        "machine says where the head is. "
        f"({detail if len(detail) <= _MOST_DETAIL else detail[:_MOST_DETAIL] + '…'})"
    )
