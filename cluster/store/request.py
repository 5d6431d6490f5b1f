"""What waits for memory: processes that want to write, and objects to be brought back from disk."""

from collections import deque
from collections.abc import Iterator

import msgspec


class Request(msgspec.Struct):
    """A wait for `size` bytes since `since`, at most until `deadline`.

    For a process's grant `process` and `number` say whose; for a restore `key` says which object. `hope_at` is when
    there was last a reason to go on waiting.
    """

    size: int
    since: float
    deadline: float
    process: str = ""
    number: int = 0
    key: int = 0
    hope_at: float = 0.0


class RequestQueue:
    """Requests in the order they came."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._waiting))

    @property
    def bytes(self) -> int:
        """What all of them want."""
        return sum(request.size for request in self._waiting)

    def add(self, request: Request) -> None:
        """Append a request."""
        self._waiting.append(request)

    def remove(self, request: Request) -> None:
        """Take out a request that was served or given up."""
        self._waiting.remove(request)

    def of_process(self, process: str) -> list[Request]:
        """The requests of a process."""
        return [request for request in self._waiting if not request.key and request.process == process]

    def of_object(self, key: int) -> Request | None:
        """The request for an object's restore."""
        return next((request for request in self._waiting if request.key == key), None)
