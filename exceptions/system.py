"""Errors of the machinery: nodes, processes, sessions."""

from .error import RayError


class RaySystemError(RayError):
    """Limelight itself failed, or a peer broke its protocol. Not the fault of the task that met it.

    Attributes:
        client_exc: the failure beneath.
        traceback_str: where it happened, or None.
    """

    def __init__(self, client_exc: object, traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str
        super().__init__(f"{client_exc}\n{traceback_str}" if traceback_str else f"{client_exc}")


class LocalRayletDiedError(RayError):
    """The node process on this machine died (Ray calls it the raylet), so this process can run nothing any more.

    The session is over: call `shutdown()` and `init()` again. Its log says why it ended.
    """


class RpcError(RayError):
    """The head of the cluster has not answered a question in time. What runs goes on; ask again when the head is back.

    Attributes:
        message: what was asked of whom, how long that took, and what to do.
        rpc_code: gRPC's number for it, as Ray gives it: 14, unavailable.
    """

    def __init__(self, message: str, rpc_code: int = 14) -> None:
        self.message = message
        self.rpc_code = rpc_code
        super().__init__(message)


class AuthenticationError(RayError):
    """The cluster's token was refused or is missing. Give every process the same token: see `cluster token`."""
