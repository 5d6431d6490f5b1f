"""What of the head's tables outlives it, and the order of things that follows: first it is kept, then it is said."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ...actors.contract import encode
from ...actors.native.links import Answer
from ...transport.address import ProcessAddress
from ..state.state_writer import StateWriter
from ..system_process import SystemProcess

Rows = Mapping[str, Mapping[str, bytes]]
"""By table and key, as they were stored."""

SESSION, NODES, JOBS, ENVIRONMENTS, GROUPS = "session", "nodes", "jobs", "environments", "groups"
ACTORS, ACTOR_SPECS, SUBMISSIONS, DRAINS, FLOOR = "actors", "actor_specs", "submissions", "drains", "floor"
TABLES = (SESSION, NODES, JOBS, ENVIRONMENTS, GROUPS, ACTORS, ACTOR_SPECS, SUBMISSIONS, DRAINS, FLOOR)


class HeadState:
    """The head's way to its store; without a writer nothing is kept, and nothing waits. On the head's loop."""

    def __init__(self, writer: StateWriter | None = None, rows: Rows | None = None) -> None:
        self._writer = writer if writer is not None and writer.keeps else None
        self._keys = {table: dict.fromkeys(known) for table, known in (rows or {}).items()}

    @property
    def keeps(self) -> bool:
        """Whether anything is kept: rows need not be made otherwise."""
        return self._writer is not None

    def put(self, table: str, key: str, row: Any) -> None:
        """Keep a row, in place of one of that key."""
        if self._writer is not None:
            self._keys.setdefault(table, {})[key] = None
            self._writer.put(table, key, encode(row))

    def delete(self, table: str, key: str) -> None:
        """Keep a row no longer."""
        if self._writer is not None:
            self._keys.get(table, {}).pop(key, None)
            self._writer.delete(table, key)

    def clear(self) -> None:
        """Keep nothing of all that was put."""
        for table, keys in self._keys.items():
            for key in keys:
                if self._writer is not None:
                    self._writer.delete(table, key)
        self._keys.clear()

    def after(self, then: Callable[[], None]) -> None:
        """Call `then` when all that was put so far is kept; at once where it is."""
        if self._writer is None:
            then()
        else:
            self._writer.when_durable(then)


def decode_rows(rows: Rows, table: str, kind: type[Any]) -> dict[str, Any]:
    """A table's rows."""
    decoder = msgspec.msgpack.Decoder(kind)
    return {key: decoder.decode(row) for key, row in rows.get(table, {}).items()}


class Outbox:
    """How the head speaks: nothing that it says leaves before what it has decided is kept.

    So no node or process ever acts on what a head that dies has forgotten. Order is kept.
    """

    def __init__(self, process: SystemProcess, state: HeadState) -> None:
        self._process = process
        self._state = state

    @property
    def address(self) -> ProcessAddress:
        """The head's process."""
        return self._process.address

    def notify(self, address: ProcessAddress, actor: str, body: Any) -> None:
        """See `SystemProcess.notify`."""
        self._state.after(lambda: self._process.notify(address, actor, body))

    def ask(self, address: ProcessAddress, actor: str, body: Any, answer: Answer) -> None:
        """See `SystemProcess.ask`."""
        self._state.after(lambda: self._process.ask(address, actor, body, answer))

    async def request(self, address: ProcessAddress, actor: str, body: Any, timeout: float) -> bytes:  # noqa: ASYNC109
        """See `SystemProcess.request`."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._state.after(lambda: None if kept.done() else kept.set_result(None))
        await kept
        return await self._process.request(address, actor, body, timeout)

    def after(self, then: Callable[[], None]) -> None:
        """See `HeadState.after`."""
        self._state.after(then)
