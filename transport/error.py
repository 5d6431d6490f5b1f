"""What can go wrong between two processes.

    TransportError
    ├── ConnectError              no channel could be made: nobody listens, the route is wrong, it took too long
    │   ├── AuthenticationError   the other side does not hold the same cluster token (or is not who it should be)
    │   ├── StaleChallengeError   the proof came too late, or twice: dial again
    │   ├── TlsError              only one side speaks TLS, or a certificate is not accepted
    │   └── VersionMismatchError  the other side speaks another version of the protocol
    ├── AddressInUseError         this endpoint cannot listen where it was told to
    ├── PeerLostError             a channel broke for good: the process died or stayed out of reach
    ├── PeerClosedError           a channel was closed on purpose, by them or by us
    ├── DeadlineExceededError     no answer within the time the caller gave (also a `TimeoutError`)
    ├── ProtocolError             the peer said something that the protocol does not allow
    ├── RemoteCallError           the call arrived and failed there; `body` is the encoded error
    ├── BackpressureError         the send buffer is full and the caller must not be blocked
    ├── MessageTooLargeError      a message over the limit; large data goes by bulk stream
    └── BulkError                 a bulk stream failed
        ├── BulkNotFoundError     the peer has no object of that name
        ├── BulkChangedError      the peer's object is another one than the first ranges were of
        ├── BulkUnavailableError  the peer has the object and cannot send it now
        └── BulkChecksumError     what arrived is not what was sent

"It broke" (`PeerLostError`) and "somebody closed it" (`PeerClosedError`) are different on purpose: the first is a
failure to recover from, the second an ordinary end.
"""


class TransportError(Exception):
    """Base of every error of this package."""


class ConnectError(TransportError):
    """No channel to a process could be made. `final`: trying again cannot help, the process is gone or refuses."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message, final)
        self.final = final

    def __str__(self) -> str:
        return str(self.args[0])


class AuthenticationError(ConnectError):
    """The two processes do not share a cluster token, or the wrong process answered."""

    def __init__(self, message: str, final: bool = True) -> None:
        super().__init__(message, final)


class StaleChallengeError(ConnectError):
    """The peer does not know the challenge (any more) that was answered. To dial again helps.

    A dialler on a busy machine may be too slow; and where a connection breaks in the middle of the handshake, aiohttp
    sends the same request a second time on another, with the challenge that the first has used up.
    """


class TlsError(ConnectError):
    """Only one of the two speaks TLS, or one does not accept the other's certificate; the message says which."""


class VersionMismatchError(ConnectError):
    """The two processes speak different versions of the protocol; the message names both."""

    def __init__(self, message: str, final: bool = True) -> None:
        super().__init__(message, final)


class AddressInUseError(TransportError):
    """The address to listen on is taken."""


class PeerLostError(TransportError):
    """The channel broke and did not come back: the peer died or stayed out of reach past the grace period.

    `gone`: the peer's process has ended, as far as its machine says: nobody, or another process, is at its address.
    """

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message, gone)
        self.gone = gone

    def __str__(self) -> str:
        return str(self.args[0])


class PeerClosedError(TransportError):
    """The channel was closed on purpose. `by_us` says which side did."""

    def __init__(self, message: str, by_us: bool = False) -> None:
        super().__init__(message, by_us)
        self.by_us = by_us

    def __str__(self) -> str:
        return str(self.args[0])


class DeadlineExceededError(TransportError, TimeoutError):
    """No answer came within the time that the caller gave."""


class ProtocolError(TransportError):
    """The peer broke the protocol; the channel is closed with this reason."""


class RemoteCallError(TransportError):
    """The call reached the peer and failed there. `body` is the error as the peer encoded it."""

    def __init__(self, body: bytes, where: str = "") -> None:
        super().__init__(body, where)
        self.body = body
        self.where = where

    def __str__(self) -> str:
        return f"The call failed in the peer{self.where and f' ({self.where})'}; its error has {len(self.body)} bytes."


class BackpressureError(TransportError):
    """The send buffer is full and the caller runs on the loop thread: await `Channel.drain()` and send again."""


class MessageTooLargeError(TransportError):
    """The message is larger than `TransportLimits.message` allows; large data goes by bulk stream."""


class BulkError(TransportError):
    """A bulk stream failed."""


class BulkNotFoundError(BulkError):
    """The peer holds no object of that name (any more)."""


class BulkChangedError(BulkError):
    """The peer's object of that name has another size or tag than the one asked for."""


class BulkUnavailableError(BulkError):
    """The peer holds the object, but cannot send it now: it has no memory to bring it back from its disk."""


class BulkChecksumError(BulkError):
    """The bytes that arrived differ from the bytes that were sent."""
