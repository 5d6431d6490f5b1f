"""The end of a driver's session from outside: its node process died, so nothing that it waits for will come."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...exceptions import LocalRayletDiedError, TaskCancelledError
from ...transport.error import PeerClosedError, TransportError
from .. import runtime
from ..serialization import serialize_error

if TYPE_CHECKING:
    from .hub import Hub


class NodeLoss:
    """Whether the node process is gone, and what follows.

    Attributes:
        obituary: says how the node process ended, for people; "" where that cannot be seen from here.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._reason = ""
        self.obituary: Callable[[], str] = str

    def __bool__(self) -> bool:
        return bool(self._reason)

    def noticed(self, error: TransportError) -> None:
        """The channel to the node has ended: unless this process closed it, all calls fail. On the wire thread."""
        if self._reason or (isinstance(error, PeerClosedError) and error.by_us):
            return
        self._reason = self.obituary() or str(error)
        self._hub.holding.over()
        data = serialize_error(self.error())
        self._hub.submission.node_lost(data)
        for client in list(self._hub.actors.clients.values()):
            client.node_lost(data)

    def ended(self) -> None:
        """This process ends the session: what it has not got by now will not come. On the wire thread."""
        if runtime.interpreter_ends:
            return  # only daemon threads wait still, which end without a word
        self._reason = self._reason or "it was told to end"
        self._hub.holding.over()
        data = serialize_error(
            TaskCancelledError(error_message="shutdown() ended the session before this task was done.")
        )
        self._hub.submission.node_lost(data)
        for client in list(self._hub.actors.clients.values()):
            client.node_lost(data)

    def error(self) -> LocalRayletDiedError:
        """What callers get."""
        identity = self._hub.identity
        return LocalRayletDiedError(
            f"The node process of session {identity.session} is gone, with all tasks, actors and stored objects: "
            f"{self._reason.rstrip('.')}. Its log, until shutdown(): {identity.session_folder}/logs/node.log. "
            "Call shutdown() and init() to start again."
        )

    def check(self) -> None:
        """Refuse what needs the node. From any thread.

        Raises:
            LocalRayletDiedError: it is gone.
        """
        if self._reason:
            raise self.error()
